"""The miniature world: scenes with exact geometry, in which the whole method runs on a laptop.

- `records.Scene` describes a clip: the seed and style of its world, the camera path, the size, and how many objects move.
- `prompts.world_prompts(config)` makes scenes with their texts; `prompts.view(scene)` renders images, depth and surfaces.
- `words.request(camera, language, seed)` is a text that asks for a camera path, `words.requests(camera, language)` returns all
  such texts, and `words.vocabulary()` every word in them.
- `failures.Failure(kind, strength, seed)` describes a failure; `failures.render_failing(scene, failure)` renders the clip that
  has it, and `failures.render_takes([failures.take(scene, failure or None), ...], height, width, device)` many at once.
- `animation.shot(scene)` gives the world, the cameras and the poses of all objects in every frame; `raycast.render_shots`
  renders shots with depth and surfaces, `raycast.exact_depth` the depth alone.
- `Scene.hard` names what makes a scene hard to reconstruct: `materials.hardened(world, kind)` in the world, and
  `camera_effects.filmed(scene, render)` in how it is filmed. All of the above know it.
- `controls.CONTROLS` are negative controls for critics: clips without one consistent 3D scene.
"""

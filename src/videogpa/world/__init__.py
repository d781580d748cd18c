"""The miniature world: scenes with exact geometry, in which the whole method runs on a laptop.

- `records.Scene` names a clip: seed and style of the world, camera path, size; `moving` objects if wanted.
- `prompts.world_prompts(config)` makes scenes with their texts; `prompts.view(scene)` renders images, depth and surfaces.
- `words.request(camera, language, seed)` is the text that asks for a camera path, `words.requests(camera, language)` all that
  may, `words.vocabulary()` every word in them.
- `failures.Failure(kind, strength, seed)` is what goes wrong; `failures.render_failing(scene, failure)` renders that clip,
  `failures.render_takes([failures.take(scene, failure or None), ...], height, width, device)` many at once.
- `shots.shot(scene)` is the intended shot (worlds, cameras, placements), `raycast.render_shots` renders shots with depth and
  surfaces, `raycast.exact_depth` the depth alone.
"""

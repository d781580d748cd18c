"""Prompts x seeds -> clips in a run folder, base or with an adapter: what `generate` and `evaluate` share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from videogpa import manifests
from videogpa.config import Recipe
from videogpa.errors import UserError
from videogpa.models.base import Sampling
from videogpa.models.loading import absolute, model_identity
from videogpa.models.requests import prompt_identity
from videogpa.records import Clip, Prompt
from videogpa.registry import MODELS, load
from videogpa.runs import RunFolder, fingerprint
from videogpa.stages.generate.making import Adapter, ClipMaking, Order
from videogpa.stages.generate.own import OwnClip, adopt, own_clip
from videogpa.workers import Crew, fill, map_items


def make_clips(
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    recipe: Recipe,
    folder: RunFolder,
    crew: Crew,
    *,
    into: RunFolder,
    adapter: Adapter | None = None,
    keep_latents: bool = False,
) -> list[Clip]:
    """Make a clip of every prompt with every seed, in clips.jsonl and clips/ of `into`; those made already are kept.

    A prompt that brings clips gets these, and no others. Prompts' images are relative to `folder`, the run's. The model is
    loaded only if a clip is left to be generated.

    Raises:
        UserError: If an image, a clip or the adapter is missing, or the adapter does not fit the model.
    """
    _check_images(recipe, [prompt for prompt in prompts if not prompt.videos])
    work = _work(prompts, recipe, folder)
    path = into.path.resolve()
    planned: dict[str, OwnClip | Order] = {}
    for prompt in prompts:
        videos = enumerate(map(Path, prompt.videos))
        own = [own_clip(prompt.prompt, number, video, recipe.generate, path) for number, video in videos]
        new = [Order(_row(prompt, seed, keep_latents), prompt, seed, path, adapter) for seed in seeds]
        planned |= {clip.row.clip: clip for clip in own or new}
    wanted = _fingerprints(planned, work, adapter)

    def make(names: list[str]) -> Iterator[Clip]:
        left = [planned[name] for name in names]
        yield from map_items(adopt, [clip for clip in left if isinstance(clip, OwnClip)], label="your clips")
        yield from crew.map(work, [clip for clip in left if isinstance(clip, Order)], label="generate")

    return fill(manifests.clips(into), wanted, make)


def _row(prompt: Prompt, seed: int, keep_latents: bool) -> Clip:
    name = f"{prompt.prompt}/{seed}"
    latents = f"clips/{name}.safetensors" if keep_latents else None
    return Clip(clip=name, prompt=prompt.prompt, seed=seed, path=f"clips/{name}.mp4", latents=latents)


def _work(prompts: Sequence[Prompt], recipe: Recipe, folder: RunFolder) -> ClipMaking:
    config = recipe.generate
    return ClipMaking(
        model=absolute(recipe.model, folder),
        identity=model_identity(recipe.model, folder),
        sampling=Sampling(config.frames, config.height, config.width, config.steps, config.guidance),
        fps=config.fps,
        images=folder.path.resolve(),
        texts=tuple(dict.fromkeys(prompt.text for prompt in prompts)),
    )


def _fingerprints(planned: Mapping[str, OwnClip | Order], work: ClipMaking, adapter: Adapter | None) -> dict[str, str]:
    """What decides how the clips look. Whether latents are kept does not: clips that were made without stay as they are."""
    shared = [work.identity, asdict(work.sampling), work.fps, *_adapter_identity(adapter)]
    seen = cache(lambda prompt: prompt_identity(prompt, work.images))
    return {
        name: clip.fingerprint if isinstance(clip, OwnClip) else fingerprint("clip", *shared, seen(clip.prompt), clip.seed)
        for name, clip in planned.items()
    }


def _adapter_identity(adapter: Adapter | None) -> list[object]:
    if adapter is None:
        return []
    from videogpa.models.adapters import adapter_fingerprint  # not before it is needed: imports peft

    return [adapter_fingerprint(adapter.path), adapter.scale]


def _check_images(recipe: Recipe, prompts: Sequence[Prompt]) -> None:
    without = [prompt.prompt for prompt in prompts if prompt.image is None]
    if load(MODELS, recipe.model.name).needs_image and without:
        raise UserError(f"an image-to-video model needs a first frame, which these prompts lack: {', '.join(without[:5])}")

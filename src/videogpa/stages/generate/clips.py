"""Prompts x seeds -> clips in a run folder, base or with an adapter: what `generate` and `evaluate` share."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

from videogpa import manifests
from videogpa.config import GenerateConfig
from videogpa.errors import UserError
from videogpa.models.base import Sampling, VideoModel
from videogpa.models.requests import prompt_identity, request_for
from videogpa.records import Clip, Prompt
from videogpa.runs import RunFolder, fingerprint, path_fingerprint
from videogpa.video import write_video
from videogpa.workers import fill


def make_clips(
    model: Callable[[], VideoModel],
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    config: GenerateConfig,
    folder: RunFolder,
    *,
    images: Path,
    model_identity: str,
    adapter: Path | None = None,
) -> list[Clip]:
    """Make a clip of every prompt with every seed, in clips.jsonl and clips/ of `folder`; those made already are kept.

    Prompts' images are relative to `images`. The model is asked for only if something is left to do; an adapter is put on it
    and taken off again.

    Raises:
        UserError: If an image or the adapter is missing, or the adapter does not fit the model.
    """
    sampling = _sampling(config)
    identity = [model_identity, *_adapter_identity(adapter), asdict(sampling), config.fps]
    planned = {
        f"{prompt.prompt}/{seed}": (prompt, seed, fingerprint("clip", *identity, prompt_identity(prompt, images), seed))
        for prompt in prompts
        for seed in seeds
    }
    wanted = {name: made_from for name, (_, _, made_from) in planned.items()}
    rows = manifests.clips(folder)
    if not rows.resume(wanted):
        return rows.settle(wanted)
    loaded = model()
    _check_images(loaded, prompts)

    def make(name: str) -> Clip:
        prompt, seed, _ = planned[name]
        row = Clip(clip=name, prompt=prompt.prompt, seed=seed, path=f"clips/{name}.mp4")
        [sample] = loaded.generate([request_for(prompt, seed, images)], sampling)
        write_video(folder / row.path, sample.video, config.fps)
        return row

    with _with_adapter(loaded, adapter):
        return fill(rows, wanted, make, label="generate")


def _sampling(config: GenerateConfig) -> Sampling:
    return Sampling(config.frames, config.height, config.width, config.steps, config.guidance)


def _adapter_identity(adapter: Path | None) -> list[str]:
    if adapter is None:
        return []
    from videogpa.models.adapters import check_folder  # not before it is needed: imports peft

    check_folder(adapter)
    return [path_fingerprint(adapter)]


def _with_adapter(model: VideoModel, adapter: Path | None) -> AbstractContextManager[None]:
    if adapter is None:
        return nullcontext()
    from videogpa.models.adapters import adapted

    return adapted(model.transformer, adapter)


def _check_images(model: VideoModel, prompts: Sequence[Prompt]) -> None:
    without = [prompt.prompt for prompt in prompts if prompt.image is None]
    if model.needs_image and without:
        raise UserError(f"an image-to-video model needs a first frame, which these prompts lack: {', '.join(without[:5])}")

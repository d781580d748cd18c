"""generate: the candidates of every training prompt, one clip per seed, or clips that the prompt brings."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

from videogpa.config import GenerateConfig, ModelConfig, Recipe
from videogpa.errors import UserError
from videogpa.models.base import Sampling
from videogpa.models.loading import check_size, load_model, model_identity, with_absolute_path
from videogpa.models.requests import prompt_identity, request_for
from videogpa.records import Clip, Prompt
from videogpa.registry import MODELS, load
from videogpa.storage import manifests
from videogpa.storage.files import atomic_path
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.storage.tensors import save_tensors
from videogpa.video import UnreadableVideo, probe, write_video
from videogpa.workers import WorkerPool, fill, map_items, open_pool


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder, and how strongly it is put on: 1 is as it was trained."""

    path: Path
    scale: float = 1.0


@dataclass(frozen=True)
class GenerateJob:
    """A clip to be made: its row, whose files go into the folder `into`."""

    row: Clip
    prompt: Prompt
    seed: int
    into: Path
    adapter: Adapter | None


@dataclass(frozen=True)
class GenerateTask:
    """See `videogpa.workers.Task`. Base and aligned clips are made by one work: the adapter is the order's."""

    model: ModelConfig
    identity: str
    """Of the model: whose latents are kept."""
    sampling: Sampling
    fps: int
    images: Path
    """The folder that the prompts' images are relative to."""
    texts: tuple[str, ...]
    """Of all prompts, not only those left to do, so that base and aligned clips are the same work."""

    def load(self) -> Callable[[GenerateJob], Clip]:
        """Load the model, with the states of all texts and without its text encoder."""
        return _Generator(self)


class _Generator:
    def __init__(self, work: GenerateTask) -> None:
        self._work = work
        self._model = load_model(work.model, RunFolder(work.images))
        self._model.cache_text_embeddings(work.texts)
        self._adapter: Adapter | None = None
        self._adapter_context = ExitStack()

    def __call__(self, job: GenerateJob) -> Clip:
        self._set_adapter(job.adapter)
        work, row = self._work, job.row
        [sample] = self._model.generate([request_for(job.prompt, job.seed, work.images)], work.sampling)
        write_video(job.into / row.path, sample.video, work.fps)
        if row.latents is not None:
            latents = {"latents": sample.latents.to(torch.bfloat16)}
            save_tensors(latents, job.into / row.latents, fingerprint=work.identity)
        return row

    def _set_adapter(self, adapter: Adapter | None) -> None:
        if adapter == self._adapter:
            return
        self._adapter_context.close()
        self._adapter = None
        if adapter is not None:
            from videogpa.models.adapters import adapted  # not before it is needed: imports peft

            self._adapter_context.enter_context(adapted(self._model.transformer, adapter.path, scale=adapter.scale))
            self._adapter = adapter


@dataclass(frozen=True)
class UserClip:
    """A clip that a prompt brings: where it lies, and its row, whose file goes into the folder `into`."""

    source: Path
    row: Clip
    into: Path
    size: tuple[int, int, int]
    """Frames, height and width that it must have."""

    @property
    def fingerprint(self) -> str:
        """Of the file's content and of the size asked for."""
        if not self.source.is_file():
            raise UserError(f"the clip {self.source} of prompt {self.row.prompt!r} is gone")
        return fingerprint("own clip", path_fingerprint(self.source), self.size)


def plan_user_clip(prompt: str, number: int, source: Path, config: GenerateConfig, into: Path) -> UserClip:
    """Plan to take a prompt's clip with that number into the run."""
    name = f"{prompt}/{number}"
    row = Clip(clip=name, prompt=prompt, seed=None, path=f"clips/{name}{source.suffix.lower()}")
    return UserClip(source, row, into, (config.frames, config.height, config.width))


def import_clip(clip: UserClip) -> Clip:
    """Copy the clip into the run, and return its row.

    Raises:
        UserError: If it is not a video, or not of the size that the recipe says.
    """
    try:
        found = probe(clip.source)
    except UnreadableVideo as error:
        raise UserError(f"a clip of prompt {clip.row.prompt!r} cannot be used: {error}") from None
    size = (found.frames, found.height, found.width)
    if size != clip.size:
        raise UserError(
            f"{clip.source} is {size} (frames, height, width), where the recipe says {clip.size}: training takes clips of one "
            "size. Convert it, or set generate.frames, height and width."
        )
    with atomic_path(clip.into / clip.row.path) as temporary:
        shutil.copyfile(clip.source, temporary)
    return clip.row


def run(recipe: Recipe, folder: RunFolder) -> list[Clip]:
    """Make `recipe.generate.candidates` clips of every training prompt, those that are not there yet.

    Raises:
        UserError: If there is no training prompt, the model cannot make clips of the size asked for, or there is no such
            adapter or it does not fit.
    """
    prompts = [prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "train"]
    if not prompts:
        raise UserError(f"{folder / 'prompts.jsonl'} has no prompt with the split `train`: nothing to generate")
    config = recipe.generate
    check_size(recipe.model, folder, frames=config.frames, height=config.height, width=config.width)
    seeds = range(config.seed, config.seed + config.candidates)
    with open_pool(recipe.workers) as crew:
        return make_clips(
            prompts, seeds, recipe, folder, crew, into=folder, adapter=_adapter(config), keep_latents=config.keep_latents
        )


def _adapter(config: GenerateConfig) -> Adapter | None:
    return None if config.adapter is None else Adapter(config.adapter.expanduser().resolve(), config.adapter_scale)


def make_clips(
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    recipe: Recipe,
    folder: RunFolder,
    crew: WorkerPool,
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
    planned: dict[str, UserClip | GenerateJob] = {}
    for prompt in prompts:
        videos = enumerate(map(Path, prompt.videos))
        own = [plan_user_clip(prompt.prompt, number, video, recipe.generate, path) for number, video in videos]
        new = [GenerateJob(_row(prompt, seed, keep_latents), prompt, seed, path, adapter) for seed in seeds]
        planned |= {clip.row.clip: clip for clip in own or new}
    wanted = _fingerprints(planned, work, adapter)

    def make(names: list[str]) -> Iterator[Clip]:
        left = [planned[name] for name in names]
        yield from map_items(import_clip, [clip for clip in left if isinstance(clip, UserClip)], label="your clips")
        yield from crew.map(work, [clip for clip in left if isinstance(clip, GenerateJob)], label="generate")

    return fill(manifests.clips(into), wanted, make)


def _row(prompt: Prompt, seed: int, keep_latents: bool) -> Clip:
    name = f"{prompt.prompt}/{seed}"
    latents = f"clips/{name}.safetensors" if keep_latents else None
    return Clip(clip=name, prompt=prompt.prompt, seed=seed, path=f"clips/{name}.mp4", latents=latents)


def _work(prompts: Sequence[Prompt], recipe: Recipe, folder: RunFolder) -> GenerateTask:
    config = recipe.generate
    return GenerateTask(
        model=with_absolute_path(recipe.model, folder),
        identity=model_identity(recipe.model, folder),
        sampling=Sampling(config.frames, config.height, config.width, config.num_inference_steps, config.guidance_scale),
        fps=config.fps,
        images=folder.path.resolve(),
        texts=tuple(dict.fromkeys(prompt.text for prompt in prompts)),
    )


def _fingerprints(planned: Mapping[str, UserClip | GenerateJob], work: GenerateTask, adapter: Adapter | None) -> dict[str, str]:
    """What decides how the clips look. Whether latents are kept does not: clips that were made without stay as they are."""
    shared = [work.identity, asdict(work.sampling), work.fps, *_adapter_identity(adapter)]
    seen = cache(lambda prompt: prompt_identity(prompt, work.images))
    return {
        name: clip.fingerprint if isinstance(clip, UserClip) else fingerprint("clip", *shared, seen(clip.prompt), clip.seed)
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

"""generate: make the candidate clips of every training prompt, one per seed.

In: prompts.jsonl, with first frames in prompts/. Out: clips.jsonl, the videos clips/<prompt>/<seed>.mp4 and, unless
`generate.keep_latents` is off, the latents that each was decoded from, beside it. For a prompt that brings clips of its own
nothing is generated: its clips are copied to clips/<prompt>/<number>.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import torch

from videogpa.config import GenerateConfig, ModelConfig, Recipe
from videogpa.config.paths import is_inside
from videogpa.errors import InvalidInput, MissingInput
from videogpa.models.base import Sampling
from videogpa.models.loading import check_sampling, in_use, load_model, model_identities, with_absolute_path
from videogpa.models.requests import prompt_identity, request_for
from videogpa.records import Clip, Prompt
from videogpa.registry import MODELS, load
from videogpa.stages.prompts import check_clip
from videogpa.storage import manifests
from videogpa.storage.files import link_or_copy, set_aside
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.storage.tensors import save_tensors, set_aside_if_damaged
from videogpa.text_files import shown
from videogpa.video import write_video
from videogpa.workers import WorkerPool, map_items, open_pool

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter to generate with: its folder, and the factor on its effect (1 is the strength it was trained at)."""

    path: Path
    scale: float = 1.0


def run(recipe: Recipe, folder: RunFolder) -> list[Clip]:
    """Make `recipe.generate.candidates` clips of every training prompt. Clips that are there already are kept.

    Videos and latents that are no longer what was written are set aside as `<name>.damaged`, and their clips are made again.

    Args:
        recipe: The sections `generate`, `model` and `workers` are read.
        folder: The run folder.

    Returns:
        The rows of all candidates, prompt by prompt.

    Raises:
        UserError: If there is no training prompt, the model cannot make clips of this size, or the adapter is missing or does
            not fit the model.
    """
    prompts = [prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "train"]
    if not prompts:
        raise InvalidInput(f"{folder / 'prompts.jsonl'} has no prompt with the split `train`: nothing to generate")
    config = recipe.generate
    check_sampling(recipe.model, folder, sampling_of(config))
    adapter = None if config.adapter is None else Adapter(given_adapter(config.adapter), config.adapter_scale)
    seeds = range(config.seed, config.seed + config.candidates)
    with open_pool(recipe.workers) as pool:
        return make_clips(prompts, seeds, recipe, folder, pool, into=folder, adapter=adapter, keep_latents=config.keep_latents)


def given_adapter(path: Path) -> Path:
    """Return the absolute path of an adapter that the recipe names; log a warning if its files do not say how strong it is.

    Raises:
        UserError: If it is missing, or of a kind that cannot be read.
    """
    from videogpa.models.adapters import warn_of_assumed_strength  # imported here because it imports peft

    path = path.expanduser().resolve()
    warn_of_assumed_strength(path)
    return path


def make_clips(
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    recipe: Recipe,
    folder: RunFolder,
    pool: WorkerPool,
    *,
    into: RunFolder,
    adapter: Adapter | None = None,
    keep_latents: bool = False,
) -> list[Clip]:
    """Make a clip of every prompt with every seed. Clips that are there already are kept.

    The model is loaded only if a clip is left to generate.

    Args:
        prompts: A prompt that brings clips of its own gets these, and no others. Image paths are relative to `folder`.
        seeds: One clip of every prompt is generated with each of these.
        recipe: The sections `generate` and `model` are read.
        folder: The run folder.
        pool: The workers that generate.
        into: The folder whose clips.jsonl and clips/ are written; the run folder, or a part of it.
        adapter: The LoRA adapter to generate with; None for the base model.
        keep_latents: Whether the latents of newly generated clips are kept.

    Returns:
        The rows of all clips, prompt by prompt.

    Raises:
        UserError: If an image, a clip or the adapter is missing, or the adapter does not fit the model.
    """
    _check_images(recipe, [prompt for prompt in prompts if not prompt.videos])
    tasks = _tasks(prompts, recipe, folder)
    prompts = [_with_absolute_clips(prompt, folder) for prompt in prompts]
    clips = manifests.clips(into)
    jobs = _plan(prompts, seeds, recipe, clips.staging.resolve(), adapter, keep_latents)
    made = {row.clip: row for row in clips.rows()}
    for row in made.values():
        _set_damaged_aside(row, into)

    def made_with(identity: str) -> bool:
        fingerprints = _fingerprints(jobs, tasks[identity], adapter)
        return any(name in made and made[name].fingerprint == value for name, value in fingerprints.items())

    task = tasks[in_use(list(tasks), made_with)]
    wanted = _fingerprints(jobs, task, adapter)

    def make(names: list[str]) -> Iterator[Clip]:
        left = [jobs[name] for name in names]
        yield from map_items(import_clip, [job for job in left if isinstance(job, UserClip)], label="your clips")
        yield from pool.map(task, [job for job in left if isinstance(job, GenerateJob)], label="generate")

    return clips.update(wanted, make)


def _with_content(row: Clip, folder: Path) -> Clip:
    return row.model_copy(update={"content": path_fingerprint(folder / row.path)})


def _set_damaged_aside(row: Clip, folder: RunFolder) -> None:
    """Set the files of a clip aside that are no longer what was written; the clip is then made again."""
    video = folder / row.path
    if row.content is not None and video.exists() and path_fingerprint(video) != row.content:
        _log.warning("%s is damaged: it is no longer what was written; it is now %s", video, set_aside(video).name)
    if row.latents is not None:
        set_aside_if_damaged(folder / row.latents)


# Clips that are generated.


@dataclass(frozen=True)
class GenerateJob:
    """One clip to generate."""

    row: Clip
    """The clip's row; its paths are relative to `into`."""
    prompt: Prompt
    seed: int
    into: Path
    """The folder that the files are written into."""
    adapter: Adapter | None


@dataclass(frozen=True)
class GenerateTask:
    """Loads the video model and generates clips with it (a `videogpa.workers.Task`).

    The adapter belongs to the job: base and aligned clips are one task, so that a worker loads the model once for both.
    """

    model: ModelConfig
    identity: str
    """The model's fingerprint, stored in the latents that are kept."""
    sampling: Sampling
    fps: int
    images: Path
    """The folder that the prompts' image paths are relative to."""
    texts: tuple[str, ...]
    """The texts of all prompts, also of those that are finished: otherwise base and aligned clips would be different tasks."""

    def load(self) -> Callable[[GenerateJob], Clip]:
        """Load the model, encode all texts, and free the text encoder."""
        return _Generator(self)


class _Generator:
    """A loaded model, and the adapter that is in it now."""

    def __init__(self, task: GenerateTask) -> None:
        self._task = task
        self._model = load_model(task.model, RunFolder(task.images))
        self._model.cache_text_embeddings((*task.texts, task.sampling.negative_prompt))
        self._adapter: Adapter | None = None
        self._adapter_context = ExitStack()

    def __call__(self, job: GenerateJob) -> Clip:
        self._set_adapter(job.adapter)
        task, row = self._task, job.row
        [sample] = self._model.generate([request_for(job.prompt, job.seed, task.images)], task.sampling)
        write_video(job.into / row.path, sample.video, task.fps)
        if row.latents is not None:
            latents = {"latents": sample.latents.to(torch.bfloat16)}
            save_tensors(latents, job.into / row.latents, fingerprint=task.identity)
        return _with_content(row, job.into)

    def _set_adapter(self, adapter: Adapter | None) -> None:
        if adapter == self._adapter:
            return
        self._adapter_context.close()
        self._adapter = None
        if adapter is not None:
            from videogpa.models.adapters import adapted  # imported here because it imports peft

            self._adapter_context.enter_context(adapted(self._model.transformer, adapter.path, scale=adapter.scale))
            self._adapter = adapter


# Clips that a prompt brings.


@dataclass(frozen=True)
class UserClip:
    """One of the user's own clips, to be copied into the run."""

    source: Path
    row: Clip
    """The clip's row; its path is relative to `into`."""
    into: Path
    """The folder that the file is copied into."""
    size: tuple[int, int, int]
    """The number of frames, the height and the width that the clip must have."""

    @property
    def fingerprint(self) -> str:
        """Hash of the file's content and of the size that is asked for."""
        if not self.source.is_file():
            raise MissingInput(f"the clip {self.source} of prompt {self.row.prompt!r} is gone")
        return fingerprint("own clip", path_fingerprint(self.source), self.size)


def import_clip(clip: UserClip) -> Clip:
    """Copy a user's clip into the run, and return its row.

    Raises:
        InvalidInput: If the file is not a video, or has another size than the recipe.
    """
    check_clip(clip.source, clip.row.prompt, clip.size)
    link_or_copy(clip.source, clip.into / clip.row.path)  # the source is the run's own copy, in prompts/
    return _with_content(clip.row, clip.into)


def _with_absolute_clips(prompt: Prompt, folder: RunFolder) -> Prompt:
    """Return the prompt with absolute paths of the clips that it brings.

    Raises:
        InvalidInput: If one is outside the run folder, where the prompts stage copies them to.
    """
    for video in prompt.videos:
        if not is_inside(folder / video, folder.path):
            raise InvalidInput(
                f"prompt {prompt.prompt!r} brings the clip {shown(video)}, which is outside the run folder: copy it there with "
                "`videogpa generate` of the recipe, or of the run folder with --set prompts.file=FILE"
            )
    return prompt.model_copy(update={"videos": tuple(str((folder / video).absolute()) for video in prompt.videos)})


# Planning: which clips, under which names and fingerprints.


def _plan(
    prompts: Sequence[Prompt], seeds: Sequence[int], recipe: Recipe, into: Path, adapter: Adapter | None, keep_latents: bool
) -> dict[str, UserClip | GenerateJob]:
    """Return what makes each clip, by the clip's name."""
    size = (recipe.generate.frames, recipe.generate.height, recipe.generate.width)
    jobs: dict[str, UserClip | GenerateJob] = {}
    for prompt in prompts:
        for number, video in enumerate(map(Path, prompt.videos)):
            name = f"{prompt.prompt}/{number}"
            row = Clip(clip=name, prompt=prompt.prompt, seed=None, path=f"clips/{name}{video.suffix.lower()}")
            jobs[name] = UserClip(video, row, into, size)
        for seed in seeds if not prompt.videos else ():
            name = f"{prompt.prompt}/{seed}"
            latents = f"clips/{name}.safetensors" if keep_latents else None
            row = Clip(clip=name, prompt=prompt.prompt, seed=seed, path=f"clips/{name}.mp4", latents=latents)
            jobs[name] = GenerateJob(row, prompt, seed, into, adapter)
    return jobs


def _tasks(prompts: Sequence[Prompt], recipe: Recipe, folder: RunFolder) -> dict[str, GenerateTask]:
    """Return the task by each of the model's identities."""
    config = recipe.generate
    return {
        identity: GenerateTask(
            model=with_absolute_path(recipe.model, folder),
            identity=identity,
            sampling=sampling_of(config),
            fps=config.fps,
            images=folder.path.resolve(),
            texts=tuple(dict.fromkeys(prompt.text for prompt in prompts)),
        )
        for identity in model_identities(recipe.model, folder)
    }


def sampling_of(config: GenerateConfig) -> Sampling:
    """Return how the clips of a recipe are sampled."""
    return Sampling(**{field.name: getattr(config, field.name) for field in fields(Sampling)})


def _fingerprints(jobs: Mapping[str, UserClip | GenerateJob], task: GenerateTask, adapter: Adapter | None) -> dict[str, str]:
    """Hash everything that decides the pixels of each clip.

    Whether latents are kept is not part of it: clips that were made without them stay as they are.
    """
    shared = [task.identity, task.sampling, task.fps, *_adapter_identity(adapter)]
    prompt_hash = cache(lambda prompt: prompt_identity(prompt, task.images))
    return {
        name: job.fingerprint if isinstance(job, UserClip) else fingerprint("clip", *shared, prompt_hash(job.prompt), job.seed)
        for name, job in jobs.items()
    }


def _adapter_identity(adapter: Adapter | None) -> list[object]:
    if adapter is None:
        return []
    from videogpa.models.adapters import adapter_fingerprint  # imported here because it imports peft

    return [adapter_fingerprint(adapter.path), adapter.scale]


def _check_images(recipe: Recipe, prompts: Sequence[Prompt]) -> None:
    without = [prompt.prompt for prompt in prompts if prompt.image is None]
    if load(MODELS, recipe.model.name).needs_image and without:
        raise InvalidInput(f"an image-to-video model needs a first frame, which these prompts lack: {', '.join(without[:5])}")

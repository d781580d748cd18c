"""encode: turn the clips of the pairs and their prompts into what training reads.

In: pairs.jsonl, clips.jsonl and prompts.jsonl. Out: latents.jsonl, the latents of every clip of a pair in
latents/<clip>.safetensors, and what the transformer receives of every prompt in latents/conditions/<prompt>.safetensors.
Where the latents that a clip was decoded from were kept, they are used as they are, and nothing is encoded.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from videogpa.config import GenerateConfig, ModelConfig, Recipe
from videogpa.errors import InvalidInput, MissingInput
from videogpa.models.base import VideoModel
from videogpa.models.loading import in_use, load_model, model_identities, with_absolute_path
from videogpa.models.requests import prompt_identity, request_for
from videogpa.records import Clip, Latents, Prompt
from videogpa.storage import manifests
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.storage.tensors import damage, read_fingerprint, save_tensors, set_aside_if_damaged
from videogpa.video import read_frames
from videogpa.workers import open_pool

_log = logging.getLogger(__name__)

FOLDER = "latents"
"""Where this stage writes, in the run folder."""


def run(recipe: Recipe, folder: RunFolder) -> list[Latents]:
    """Encode every clip that is in a pair, and the prompt of each. What is encoded already is kept.

    Files that are no longer what was written are set aside as `<name>.damaged`, and are made again.

    Args:
        recipe: The sections `generate` (size and first seed), `model` and `workers` are read.
        folder: The run folder.

    Returns:
        A row for every clip of a pair, with the files of its latents and of its prompt's condition.

    Raises:
        UserError: If a clip of a pair is missing, cannot be read, or has another size than the recipe, or the latents that it
            was decoded from are damaged.
    """
    latents = manifests.latents(folder)
    made = {row.clip: row.fingerprint for row in latents.rows()}
    identities = model_identities(recipe.model, folder)

    def made_with(identity: str) -> bool:
        return any(
            made.get(name) == value for name, value in _fingerprints(_plan(recipe, folder, identities, identity)).items()
        )

    jobs = _plan(recipe, folder, identities, in_use(identities, made_with))
    wanted = _fingerprints(jobs)
    for path in dict.fromkeys(name for row in latents.rows() for name in (row.path, row.condition)):
        if path.startswith(f"{FOLDER}/"):  # not those that `generate` has kept, and makes again
            set_aside_if_damaged(folder / path)
    with open_pool(recipe.workers) as pool:

        def make(names: list[str]) -> Iterator[Latents]:
            task = EncodeTask(
                model=with_absolute_path(recipe.model, folder),
                folder=folder.path.resolve(),
                into=latents.staging.resolve(),
                size=recipe.generate,
                texts=tuple(dict.fromkeys(job.prompt.text for job in jobs)),
            )
            for rows in pool.map(task, _left(jobs, set(names)), label="encode"):
                yield from rows

        return latents.update(wanted, make)


@dataclass(frozen=True)
class ClipToEncode:
    """A clip's row, and the video to encode; None where the latents were kept when the clip was generated."""

    row: Latents
    video: Path | None


@dataclass(frozen=True)
class EncodeJob:
    """A prompt and those of its clips that are in pairs: the prompt's condition is encoded once for all of them."""

    prompt: Prompt
    condition: str
    """Fingerprint of the prompt's condition."""
    clips: tuple[ClipToEncode, ...]


@dataclass(frozen=True)
class EncodeTask:
    """Loads the VAE and the text encoder, and encodes prompts and clips with them (a `videogpa.workers.Task`)."""

    model: ModelConfig
    folder: Path
    """The run folder, as an absolute path."""
    into: Path
    """The folder that files are written into, under the names that they are to have in the run folder."""
    size: GenerateConfig
    texts: tuple[str, ...]
    """The texts of all prompts."""

    def load(self) -> Callable[[EncodeJob], list[Latents]]:
        """Load VAE and text encoder, cache the text embeddings, and free the text encoder."""
        model = load_model(self.model, RunFolder(self.folder), parts=("text", "vae"))
        model.cache_text_embeddings(self.texts)
        return lambda job: self._encode(job, model)

    def _encode(self, job: EncodeJob, model: VideoModel) -> list[Latents]:
        self._encode_prompt(job, model)
        for clip in job.clips:
            if clip.video is not None and read_fingerprint(self.folder / clip.row.path) != clip.row.fingerprint:
                latents = {"latents": model.encode_video(self._read(clip.video))}
                save_tensors(latents, self.into / clip.row.path, fingerprint=clip.row.fingerprint)
        return [clip.row for clip in job.clips]

    def _encode_prompt(self, job: EncodeJob, model: VideoModel) -> None:
        """Encode the prompt, unless that was done before, with other clips of it."""
        name = job.clips[0].row.condition
        if read_fingerprint(self.folder / name) != job.condition:
            size = self.size
            # The first candidate's seed: the latents of the first frame are then those that this clip was generated from.
            request = request_for(job.prompt, size.seed, self.folder)
            condition = model.encode_condition(request, frames=size.frames, height=size.height, width=size.width)
            save_tensors(condition, self.into / name, fingerprint=job.condition)

    def _read(self, path: Path) -> Float[Tensor, "frames 3 height width"]:
        video = read_frames(path)
        found, expected = (len(video), *video.shape[2:]), (self.size.frames, self.size.height, self.size.width)
        if found != expected:
            raise InvalidInput(f"{path} is {found} (frames, height, width), where the recipe says {expected}")
        return video


def _fingerprints(jobs: list[EncodeJob]) -> dict[str, str]:
    return {clip.row.clip: clip.row.fingerprint for job in jobs for clip in job.clips}


def _plan(recipe: Recipe, folder: RunFolder, identities: Collection[str], identity: str) -> list[EncodeJob]:
    """Return one job for every prompt that has a clip in a pair.

    Args:
        recipe: The sections `generate` and `model` are read.
        folder: The run folder.
        identities: Those of the model. Latents that were kept under any of them are its own.
        identity: The one that the conditions of prompts are made with.
    """
    clips = _paired_clips(folder)
    if not clips:
        return []
    prompts = {prompt.prompt: prompt for prompt in manifests.prompts(folder).rows()}
    config = recipe.generate
    size = (config.frames, config.height, config.width)
    by_prompt: dict[str, list[Clip]] = {}
    for clip in clips:
        by_prompt.setdefault(clip.prompt, []).append(clip)
    jobs = []
    for name, members in by_prompt.items():
        condition = fingerprint("condition", identity, prompt_identity(prompts[name], folder.path), size, config.seed)
        to_encode = tuple(_clip_to_encode(clip, condition, identities, folder) for clip in members)
        jobs.append(EncodeJob(prompts[name], condition, to_encode))
    return jobs


def _paired_clips(folder: RunFolder) -> list[Clip]:
    clips = {clip.clip: clip for clip in manifests.clips(folder).rows()}
    prompts = {prompt.prompt for prompt in manifests.prompts(folder).rows()}
    pairs = [pair for pair in manifests.pairs(folder).rows() if pair.dropped is None]
    names = dict.fromkeys(name for pair in pairs for name in (pair.winner, pair.loser) if name is not None)
    missing = [
        name
        for name in names
        if name not in clips or clips[name].prompt not in prompts or not (folder / clips[name].path).exists()
    ]
    if missing:
        raise MissingInput(
            f"clips of pairs, or their prompts, are missing: {', '.join(missing[:5])}. `videogpa run` makes them again."
        )
    return [clips[name] for name in names]


def _clip_to_encode(clip: Clip, condition: str, identities: Collection[str], folder: RunFolder) -> ClipToEncode:
    kept = _kept_latents(clip, identities, folder)
    row = Latents(
        clip=clip.clip,
        prompt=clip.prompt,
        path=f"{FOLDER}/{clip.clip}.safetensors" if kept is None else kept,
        condition=f"{FOLDER}/conditions/{clip.prompt}.safetensors",
        fingerprint=fingerprint("latents", condition, path_fingerprint(folder / (kept or clip.path))),
    )
    return ClipToEncode(row, (folder / clip.path).resolve() if kept is None else None)


def _kept_latents(clip: Clip, identities: Collection[str], folder: RunFolder) -> str | None:
    """Return the file of the latents that the clip was decoded from, if they were kept and this very model made them.

    Raises:
        InvalidInput: If they are damaged: latents of the decoded video are not the same, and are not taken unasked.
    """
    if clip.latents is None:
        return None
    path = folder / clip.latents
    why = damage(path)
    if why is not None:
        raise InvalidInput(f"{path}, the latents of a paired clip, is damaged ({why}). `videogpa generate` makes it again.")
    if not path.exists():
        _log.warning("%s, the latents that the clip was decoded from, is gone: the video is encoded in its place", path)
    return clip.latents if read_fingerprint(path) in identities else None


def _left(jobs: list[EncodeJob], names: set[str]) -> list[EncodeJob]:
    """Restrict the jobs to the clips that are still to be encoded."""
    left = [replace(job, clips=tuple(clip for clip in job.clips if clip.row.clip in names)) for job in jobs]
    return [job for job in left if job.clips]

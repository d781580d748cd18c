"""encode: the paired clips and their prompts, as the latents and conditions that training reads.

Clips that were generated here kept the latents that they were decoded from, and these are used as they are; others are encoded
into latents/<clip>.safetensors. Every prompt gets latents/conditions/<prompt>.safetensors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from videogpa.config import GenerateConfig, ModelConfig, Recipe
from videogpa.errors import UserError
from videogpa.models.base import VideoModel
from videogpa.models.loading import load_model, model_identity, with_absolute_path
from videogpa.models.requests import prompt_identity, request_for
from videogpa.records import Clip, Latents, Prompt
from videogpa.storage import manifests
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.storage.tensors import read_fingerprint, save_tensors
from videogpa.video import read_frames
from videogpa.workers import fill, open_pool


@dataclass(frozen=True)
class Job:
    """A clip's row, and the video to encode into its file; None where its latents are there, kept when it was generated."""

    row: Latents
    video: Path | None


@dataclass(frozen=True)
class Group:
    """A prompt with some of its clips: they share what the transformer is shown of the prompt, which is encoded once."""

    prompt: Prompt
    condition: str
    """Fingerprint of what becomes of the prompt."""
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class EncodeTask:
    """See `videogpa.workers.Task`."""

    model: ModelConfig
    folder: Path
    """The run's."""
    size: GenerateConfig
    texts: tuple[str, ...]

    def load(self) -> Callable[[Group], list[Latents]]:
        """Load VAE and text encoder, and keep of the latter what it says of the texts."""
        model = load_model(self.model, RunFolder(self.folder), parts=("text", "vae"))
        model.cache_text_embeddings(self.texts)
        return lambda group: self._encode(group, model)

    def _encode(self, group: Group, model: VideoModel) -> list[Latents]:
        self._encode_prompt(group, model)
        for job in group.jobs:
            if job.video is not None:
                latents = {"latents": model.encode_video(self._read(job.video))}
                save_tensors(latents, self.folder / job.row.path, fingerprint=job.row.fingerprint)
        return [job.row for job in group.jobs]

    def _encode_prompt(self, group: Group, model: VideoModel) -> None:
        """Encode the prompt, unless other clips of it were here before."""
        path = self.folder / group.jobs[0].row.condition
        if read_fingerprint(path) != group.condition:
            size = self.size
            # With the first candidate's seed, the first frame's latents are those that it was made from.
            request = request_for(group.prompt, size.seed, self.folder)
            condition = model.encode_condition(request, frames=size.frames, height=size.height, width=size.width)
            save_tensors(condition, path, fingerprint=group.condition)

    def _read(self, path: Path) -> Float[Tensor, "frames 3 height width"]:
        video = read_frames(path)
        found, expected = (len(video), *video.shape[2:]), (self.size.frames, self.size.height, self.size.width)
        if found != expected:
            raise UserError(f"{path} is {found} (frames, height, width), where the recipe says {expected}")
        return video


def run(recipe: Recipe, folder: RunFolder) -> list[Latents]:
    """Encode every clip that is in a pair, and the prompt of each, those that are not encoded yet.

    Raises:
        UserError: If a paired clip is missing, cannot be read, or has another size than the recipe says.
    """
    clips = _paired_clips(folder)
    prompts = {prompt.prompt: prompt for prompt in manifests.prompts(folder).rows()}
    groups = _groups(clips, prompts, recipe, folder) if clips else []
    wanted = {job.row.clip: job.row.fingerprint for group in groups for job in group.jobs}
    with open_pool(recipe.workers) as crew:

        def encode(names: list[str]) -> Iterator[Latents]:
            work = EncodeTask(
                model=with_absolute_path(recipe.model, folder),
                folder=folder.path.resolve(),
                size=recipe.generate,
                texts=tuple(dict.fromkeys(group.prompt.text for group in groups)),
            )
            for rows in crew.map(work, _left(groups, set(names)), label="encode"):
                yield from rows

        return fill(manifests.latents(folder), wanted, encode)


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
        raise UserError(
            f"paired clips, or their prompts, are missing: {', '.join(missing[:5])}. `videogpa run` makes them again."
        )
    return [clips[name] for name in names]


def _groups(clips: list[Clip], prompts: dict[str, Prompt], recipe: Recipe, folder: RunFolder) -> list[Group]:
    identity = model_identity(recipe.model, folder)
    config = recipe.generate
    size = (config.frames, config.height, config.width)
    by_prompt: dict[str, list[Clip]] = {}
    for clip in clips:
        by_prompt.setdefault(clip.prompt, []).append(clip)
    groups = []
    for name, members in by_prompt.items():
        condition = fingerprint("condition", identity, prompt_identity(prompts[name], folder.path), size, config.seed)
        groups.append(Group(prompts[name], condition, tuple(_job(clip, condition, identity, folder) for clip in members)))
    return groups


def _job(clip: Clip, condition: str, identity: str, folder: RunFolder) -> Job:
    kept = _kept_latents(clip, identity, folder)
    row = Latents(
        clip=clip.clip,
        prompt=clip.prompt,
        path=f"latents/{clip.clip}.safetensors" if kept is None else kept,
        condition=f"latents/conditions/{clip.prompt}.safetensors",
        fingerprint=fingerprint("latents", condition, path_fingerprint(folder / (kept or clip.path))),
    )
    return Job(row, (folder / clip.path).resolve() if kept is None else None)


def _kept_latents(clip: Clip, identity: str, folder: RunFolder) -> str | None:
    """The file of the latents that the clip was decoded from, if they were kept and are those of this very model."""
    if clip.latents is None or read_fingerprint(folder / clip.latents) != identity:
        return None
    return clip.latents


def _left(groups: list[Group], names: set[str]) -> list[Group]:
    """What of the groups is left to do."""
    left = [Group(group.prompt, group.condition, tuple(j for j in group.jobs if j.row.clip in names)) for group in groups]
    return [group for group in left if group.jobs]

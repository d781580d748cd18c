"""The stage of a run: latents/<clip>.safetensors per paired clip, latents/conditions/<prompt>.safetensors per prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videogpa import manifests
from videogpa.config import GenerateConfig, Recipe
from videogpa.errors import UserError
from videogpa.models.base import VideoModel
from videogpa.models.loading import load_model, model_identity
from videogpa.models.requests import prompt_identity, request_for
from videogpa.records import Clip, Latents, Prompt
from videogpa.runs import RunFolder, atomic_path, fingerprint, path_fingerprint
from videogpa.video import read_frames
from videogpa.workers import fill


@dataclass(frozen=True)
class _Job:
    """A clip to encode, and the fingerprints of what becomes of it and of its prompt."""

    clip: Clip
    prompt: Prompt
    row: Latents
    condition: str


def run(recipe: Recipe, folder: RunFolder) -> list[Latents]:
    """Encode every clip that is in a pair, and the prompt of each, those that are not encoded yet.

    Raises:
        UserError: If a paired clip is missing, cannot be read, or has another size than the recipe says.
    """
    jobs = {job.row.clip: job for job in _plan(recipe, folder)}
    wanted = {name: job.row.fingerprint for name, job in jobs.items()}
    model = cache(lambda: load_model(recipe.model, folder, parts=("text", "vae")))

    def encode(name: str) -> Latents:
        job = jobs[name]
        _encode_condition(job, model(), recipe.generate, folder)
        _save({"latents": model().encode_video(_read(job.clip, recipe.generate, folder))}, folder / job.row.path, {})
        return job.row

    return fill(manifests.latents(folder), wanted, encode, label="encode")


def _plan(recipe: Recipe, folder: RunFolder) -> list[_Job]:
    clips = {clip.clip: clip for clip in manifests.clips(folder).rows()}
    prompts = {prompt.prompt: prompt for prompt in manifests.prompts(folder).rows()}
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
    identity = model_identity(recipe.model, folder) if names else ""
    return [_job(clips[name], prompts[clips[name].prompt], identity, recipe.generate, folder) for name in names]


def _job(clip: Clip, prompt: Prompt, identity: str, config: GenerateConfig, folder: RunFolder) -> _Job:
    size = (config.frames, config.height, config.width)
    condition = fingerprint("condition", identity, prompt_identity(prompt, folder.path), size, config.seed)
    row = Latents(
        clip=clip.clip,
        prompt=prompt.prompt,
        path=f"latents/{clip.clip}.safetensors",
        condition=f"latents/conditions/{prompt.prompt}.safetensors",
        fingerprint=fingerprint("latents", condition, path_fingerprint(folder / clip.path)),
    )
    return _Job(clip, prompt, row, condition)


def _read(clip: Clip, config: GenerateConfig, folder: RunFolder) -> Tensor:
    video = read_frames(folder / clip.path)
    found, expected = (len(video), *video.shape[2:]), (config.frames, config.height, config.width)
    if found != expected:
        raise UserError(f"{folder / clip.path} is {found} (frames, height, width), where the recipe says {expected}")
    return video


def _encode_condition(job: _Job, model: VideoModel, config: GenerateConfig, folder: RunFolder) -> None:
    """Encode the clip's prompt, unless another clip of it was here before."""
    path = folder / job.row.condition
    if _made_from(path) != job.condition:
        # With the first candidate's seed, the first frame's latents are those that it was made from.
        request = request_for(job.prompt, config.seed, folder.path)
        condition = model.encode_condition(request, frames=config.frames, height=config.height, width=config.width)
        _save(condition, path, {"fingerprint": job.condition})


def _made_from(path: Path) -> str | None:
    """Return the fingerprint that a condition file carries; None if there is no such file or it is broken."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (FileNotFoundError, SafetensorError):
        return None
    return metadata.get("fingerprint")


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise UserError(f"the model encodes {path.stem} to what is not a number. Try model.dtype bfloat16 or float32.")
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, temporary, metadata=metadata)

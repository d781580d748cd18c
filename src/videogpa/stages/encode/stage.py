"""The stage of a run: latents per paired clip, and latents/conditions/<prompt>.safetensors per prompt.

Clips that were generated here kept the latents that they were decoded from, and these are used as they are; others are encoded
into latents/<clip>.safetensors.
"""

from collections.abc import Iterator

from videogpa import manifests
from videogpa.config import Recipe
from videogpa.errors import UserError
from videogpa.models.loading import absolute, model_identity
from videogpa.models.requests import prompt_identity
from videogpa.records import Clip, Latents, Prompt
from videogpa.runs import RunFolder, fingerprint, path_fingerprint
from videogpa.stages.encode.encoding import Encoding, Group, Job
from videogpa.tensors import saved_from
from videogpa.workers import fill, hire


def run(recipe: Recipe, folder: RunFolder) -> list[Latents]:
    """Encode every clip that is in a pair, and the prompt of each, those that are not encoded yet.

    Raises:
        UserError: If a paired clip is missing, cannot be read, or has another size than the recipe says.
    """
    clips = _paired_clips(folder)
    prompts = {prompt.prompt: prompt for prompt in manifests.prompts(folder).rows()}
    groups = _groups(clips, prompts, recipe, folder) if clips else []
    wanted = {job.row.clip: job.row.fingerprint for group in groups for job in group.jobs}
    with hire(recipe.workers) as crew:

        def encode(names: list[str]) -> Iterator[Latents]:
            work = Encoding(
                model=absolute(recipe.model, folder),
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
    if clip.latents is None or saved_from(folder / clip.latents) != identity:
        return None
    return clip.latents


def _left(groups: list[Group], names: set[str]) -> list[Group]:
    """What of the groups is left to do."""
    left = [Group(group.prompt, group.condition, tuple(j for j in group.jobs if j.row.clip in names)) for group in groups]
    return [group for group in left if group.jobs]

"""How much the clips of each prompt differ, for `evaluate` and `compare`.

In: clips of several seeds for a prompt. Out: diversity.jsonl, a row for each prompt with two clips or more.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from videogpa.records import Diversity
from videogpa.stages.clip_files import clip_fingerprint
from videogpa.storage import manifests
from videogpa.storage.fingerprints import fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.workers import map_items


def clips_of_prompts(folder: RunFolder) -> list[Diversity]:
    """Measure the clips of a run folder, such as evaluation/base."""
    groups: dict[str, list[Path]] = {}
    for clip in manifests.clips(folder).rows():
        groups.setdefault(clip.prompt, []).append(folder / clip.path)
    return diversity_by_prompt(groups, folder)


def diversity_by_prompt(groups: Mapping[str, Sequence[Path]], folder: RunFolder) -> list[Diversity]:
    """Measure groups of clips.

    Args:
        groups: Prompt -> its clips.
        folder: Where diversity.jsonl is; what has been measured of the same files is not measured again.

    Returns:
        A row for each prompt with two clips or more.
    """
    several = {prompt: clips for prompt, clips in groups.items() if len(clips) > 1}
    wanted = {prompt: fingerprint([clip_fingerprint(clip) for clip in clips]) for prompt, clips in several.items()}
    return manifests.diversity(folder).update(wanted, lambda prompts: _measured({key: several[key] for key in prompts}))


def _measured(groups: Mapping[str, Sequence[Path]]) -> Iterator[Diversity]:
    from videogpa.scoring.diversity import diversity_of  # imported here: with nothing left to do no torch is needed
    from videogpa.scoring.lpips import Lpips
    from videogpa.video import UnreadableVideo

    lpips = Lpips("alex").eval()

    def measure(prompt: str) -> Diversity:
        row = Diversity(prompt=prompt, clips=len(groups[prompt]))
        try:
            diversity, vendi = diversity_of(groups[prompt], lpips)
        except UnreadableVideo:  # its score says so
            return row
        return row.model_copy(update={"diversity": diversity, "vendi": vendi})

    return map_items(measure, list(groups), label="diversity")

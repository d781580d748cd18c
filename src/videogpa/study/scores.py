"""What is known of a study's clips, from folders of scores: every measure that has a better direction, and what judges say."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from videogpa.errors import InvalidInput, MissingInput
from videogpa.measures import MEASURES
from videogpa.records import Judgement, Score
from videogpa.stages.clip_files import clip_name
from videogpa.stages.paired import NOT_COMPARED
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.study.records import Key
from videogpa.text_files import file_exists, shown

JUDGING = tuple(
    name
    for name, measure in MEASURES.items()
    if measure.of == "clip" and measure.better is not None and name not in NOT_COMPARED
)


def read_scores(key: Key, folders: Sequence[Path]) -> dict[tuple[str, str], dict[str, float]]:
    """Read what is known of a study's clips.

    Args:
        key: The study's key; where its clips come from a run, that evaluation's scores are read too, as far as they are there.
        folders: Folders with a scores.jsonl or judgements.jsonl, of `videogpa score`, `judge` or `compare`, or a part of a run.

    Returns:
        (critic or judge, measure) -> path of a clip -> value.

    Raises:
        MissingInput: If a folder has no scores.
        InvalidInput: If a folder has none of the study's clips.
    """
    clips = {clip for item in key.items.values() for clip in item.clips}
    found: dict[tuple[str, str], dict[str, float]] = {}
    own = [Path(folder) for folder in key.scores if file_exists(Path(folder) / "scores.jsonl")]
    for folder in [*own, *folders]:
        if not any(file_exists(folder / name) for name in ("scores.jsonl", "judgements.jsonl")):
            raise MissingInput(
                f"{shown(folder)} holds no scores.jsonl: name a folder of `videogpa score`, `judge` or `compare`"
            )
        run = RunFolder(folder)
        rows = _of_clips(folder, clips, manifests.scores(run).rows())
        judged = _of_clips(folder, clips, manifests.judgements(run).rows())
        if not rows and not judged and folder not in own:
            raise InvalidInput(
                f"{shown(folder)} has scores of none of the study's clips. Scores name clips by the paths that were given: run "
                "this where `videogpa score` was run"
            )
        for clip, row in rows:
            for measure in JUDGING:
                value = getattr(row, measure)
                if value is not None:
                    found.setdefault((row.critic, measure), {})[clip] = float(value)
        for clip, judgement in judged:
            for measure in (name for name in judgement.numbers if name in MEASURES and MEASURES[name].of == "judge"):
                found.setdefault((judgement.judge, measure), {})[clip] = judgement.numbers[measure]
    return found


R = TypeVar("R", Score, Judgement)


def _of_clips(folder: Path, clips: set[str], rows: Sequence[R]) -> list[tuple[str, R]]:
    """Return the rows of the study's clips that have numbers, with the clips' absolute paths."""
    own = folder / "clips.jsonl"
    files = {row.clip: folder / row.path for row in manifests.clips(RunFolder(folder)).rows()} if own.exists() else {}
    named = [(clip_name(files.get(row.clip, Path(row.clip)).resolve()), row) for row in rows]
    return [(clip, row) for clip, row in named if clip in clips and row.status == "ok"]

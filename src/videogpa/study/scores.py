"""The scores that the clips of a study already have, from folders of scores: every measure that has a better direction."""

from collections.abc import Sequence
from pathlib import Path

from videogpa.errors import InvalidInput, MissingInput
from videogpa.measures import MEASURES
from videogpa.records import Score
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
        folders: Folders with a scores.jsonl, of `videogpa score`, `videogpa compare`, or a part of a run.

    Returns:
        (critic, measure) -> path of a clip -> value.

    Raises:
        MissingInput: If a folder has no scores.
        InvalidInput: If a folder has none of the study's clips.
    """
    clips = {clip for item in key.items.values() for clip in item.clips}
    found: dict[tuple[str, str], dict[str, float]] = {}
    own = [Path(folder) for folder in key.scores if file_exists(Path(folder) / "scores.jsonl")]
    for folder in [*own, *folders]:
        if not file_exists(folder / "scores.jsonl"):
            raise MissingInput(f"{shown(folder)} holds no scores.jsonl: name a folder of `videogpa score` or `compare`")
        rows = _rows(folder, clips)
        if not rows and folder not in own:
            raise InvalidInput(
                f"{shown(folder)} has scores of none of the study's clips. Scores name clips by the paths that were given: run "
                "this where `videogpa score` was run"
            )
        for clip, row in rows:
            for measure in JUDGING:
                value = getattr(row, measure)
                if value is not None:
                    found.setdefault((row.critic, measure), {})[clip] = float(value)
    return found


def _rows(folder: Path, clips: set[str]) -> list[tuple[str, Score]]:
    """Return the rows of the study's clips that could be scored, with the clips' absolute paths."""
    run = RunFolder(folder)
    files = {row.clip: folder / row.path for row in manifests.clips(run).rows()} if (folder / "clips.jsonl").exists() else {}
    rows = [(clip_name(files.get(row.clip, Path(row.clip)).resolve()), row) for row in manifests.scores(run).rows()]
    return [(clip, row) for clip, row in rows if clip in clips and row.status == "ok"]

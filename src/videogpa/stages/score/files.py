"""`videogpa score`: video files in; rows, a spreadsheet, a table on the terminal and a report out."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from videogpa.config import ScoreConfig, WorkersConfig
from videogpa.errors import UserError
from videogpa.records import Score
from videogpa.report.scores import ClipCard, write_score_report
from videogpa.report.strips import load_strip, strip_path
from videogpa.runs import Manifest, RunFolder, fingerprint, path_fingerprint
from videogpa.stages.score.judge import weights_identity
from videogpa.stages.score.judging import Judging, Trial
from videogpa.stages.score.output import ranked, write_columns, write_csv
from videogpa.workers import fill, hire

STRIPS = "strips"
ALONE = WorkersConfig()
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts"}


def score_files(paths: Sequence[str], config: ScoreConfig, out: Path, workers: WorkersConfig = ALONE) -> list[Score]:
    """Score video files into the folder `out`; those that it holds already, for the same settings and files, are kept.

    Returns the rows, best first.

    Raises:
        UserError: If a path names nothing.
        RunFolderBusy: If another process writes to the folder.
    """
    files = {f"{config.critic} {path}": path for path in find_videos(paths)}
    weights = weights_identity(config)
    wanted = {key: fingerprint(config, weights, path_fingerprint(path)) for key, path in files.items()}
    folder = RunFolder(out)
    work = Judging((config,), out.resolve() / STRIPS)

    def score(keys: list[str]) -> Iterator[Score]:
        trials = [Trial(config.critic, files[key].resolve(), str(files[key])) for key in keys]
        return crew.map(work, trials, label="score")

    with folder.lock(), hire(workers) as crew:
        rows = Manifest(folder / "scores.jsonl", Score, "critic clip", files=lambda row: _strips_of(row, folder))
        scores = ranked(fill(rows, wanted, score))
        write_columns(folder / "columns.json")
        write_csv(folder / "scores.csv", scores)
        cards = [ClipCard(row, load_strip(folder / STRIPS, row.critic, row.clip)) for row in scores]
        write_score_report(folder / "report.html", cards, title=f"{len(scores)} clips scored by {config.critic}")
    return scores


def _strips_of(row: Score, folder: RunFolder) -> list[Path]:
    """The picture that a scored row promises."""
    return [strip_path(folder / STRIPS, row.critic, row.clip)] if row.loo_score is not None else []


def find_videos(paths: Sequence[str]) -> list[Path]:
    """Return the files that paths, folders and globs name, each once, in order. In folders only video files count.

    Raises:
        UserError: If one of them names nothing.
    """
    found: dict[Path, None] = {}
    for path in paths:
        videos = [video for match in _matches(path) for video in _videos_of(match)]
        if not videos:
            raise UserError(f"no video at {path}" + (": the folder holds none" if Path(path).is_dir() else ""))
        found |= dict.fromkeys(videos)
    if not found:
        raise UserError("name at least one video, folder or glob, such as: videogpa score clips/")
    return list(found)


def _matches(path: str) -> list[Path]:
    """The path itself if it exists, whatever characters it holds; else what it matches as a glob."""
    if Path(path).exists():
        return [Path(path)]
    return [Path(match) for match in sorted(glob.glob(path, recursive=True))]  # noqa: PTH207 - Path.glob takes no absolute ones


def _videos_of(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file())
    return [path]

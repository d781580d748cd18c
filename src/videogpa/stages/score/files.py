"""`videogpa score`: video files in; rows, a spreadsheet, a table on the terminal and a report out."""

import glob
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from videogpa.config import ScoreConfig
from videogpa.errors import UserError
from videogpa.records import Score
from videogpa.report.scores import ClipCard, write_score_report
from videogpa.report.strips import load_strip, make_strip, save_strip, strip_path
from videogpa.runs import Manifest, RunFolder, fingerprint, path_fingerprint
from videogpa.stages.score.judge import Judge, Verdict, weights_identity
from videogpa.stages.score.output import ranked, write_columns, write_csv
from videogpa.workers import fill

STRIPS = "strips"
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts"}


def score_files(paths: Sequence[str], config: ScoreConfig, out: Path) -> list[Score]:
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
    judge = cache(lambda: Judge(config))  # loaded at the first clip: a finished folder loads nothing

    def score(key: str) -> Score:
        verdict = judge().judge(files[key], clip=str(files[key]))
        _keep_strip(verdict, folder)
        return verdict.score

    with folder.lock():
        rows = Manifest(folder / "scores.jsonl", Score, "critic clip", files=lambda row: _strips_of(row, folder))
        scores = ranked(fill(rows, wanted, score, label="score"))
        write_columns(folder / "columns.json")
        write_csv(folder / "scores.csv", scores)
        cards = [ClipCard(row, load_strip(folder / STRIPS, row.critic, row.clip)) for row in scores]
        write_score_report(folder / "report.html", cards, title=f"{len(scores)} clips scored by {config.critic}")
    return scores


def _strips_of(row: Score, folder: RunFolder) -> list[Path]:
    """The picture that a scored row promises."""
    return [strip_path(folder / STRIPS, row.critic, row.clip)] if row.loo_score is not None else []


def _keep_strip(verdict: Verdict, folder: RunFolder) -> None:
    if verdict.reconstruction is not None and verdict.rendered is not None:
        strip = make_strip(verdict.reconstruction, *verdict.rendered)
        save_strip(folder / STRIPS, verdict.score.critic, verdict.score.clip, strip)


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

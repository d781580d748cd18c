"""score: reconstruct every clip with a critic, render the geometry back into the frames, and measure the disagreement.

In: clips.jsonl and the videos, or any video files. Out: scores.jsonl, one row per clip and critic; a clip that cannot be scored
gets a row with a status and a reason.
"""

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from videogpa.config import Recipe, ScoreConfig, WorkersConfig
from videogpa.critics.networks.weights import local_source
from videogpa.errors import InvalidInput, MissingInput
from videogpa.records import Clip, Prompt, Score
from videogpa.report.scores import ClipCard, write_score_report
from videogpa.report.strips import load_strip, make_strip, save_strip, strip_path
from videogpa.report.tables import ranked, write_columns, write_csv
from videogpa.scoring.scorer import Scorer
from videogpa.storage import manifests
from videogpa.storage.fingerprints import changed_options, fingerprint, path_fingerprint
from videogpa.storage.manifests import Manifest, may_have_passed
from videogpa.storage.run_folder import RunFolder
from videogpa.workers import WorkerPool, open_pool

STRIPS = "strips"  # the folder of a report's pictures, within that of the scores
ALONE = WorkersConfig()  # this process scores
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts"}


@dataclass(frozen=True)
class ScoreJob:
    """A clip, and the name of the critic that scores it."""

    critic: str
    video: Path
    clip: str
    prompt: Prompt | None = None


@dataclass(frozen=True)
class ScoreTask:
    """The critics that score, and where pictures go; a `videogpa.workers.Task`."""

    critics: tuple[ScoreConfig, ...]
    strips: Path | None = None
    """The folder for pictures of what the scores were computed from; None for no pictures."""

    def load(self) -> Callable[[ScoreJob], Score]:
        """Return what scores a clip. A critic is loaded at its first clip."""
        return _Scorers(self)


class _Scorers:
    """The critics of a task, each loaded at its first clip and freed when this is closed."""

    def __init__(self, task: ScoreTask) -> None:
        self._strips = task.strips
        self._settings = {config.critic: config for config in task.critics}
        self._scorers: dict[str, Scorer] = {}

    def __call__(self, job: ScoreJob) -> Score:
        if job.critic not in self._scorers:
            self._scorers[job.critic] = Scorer.from_config(self._settings[job.critic])
        scored = self._scorers[job.critic].score_clip(job.video, clip=job.clip, prompt=job.prompt)
        if self._strips is not None and scored.reconstruction is not None and scored.render is not None:
            strip = make_strip(scored.reconstruction, *scored.render)
            save_strip(self._strips, scored.score.critic, scored.score.clip, strip)
        return scored.score

    def close(self) -> None:
        for scorer in self._scorers.values():
            scorer.close()
        self._scorers.clear()


def run(recipe: Recipe, folder: RunFolder) -> list[Score]:
    """Score the candidates of the training prompts with the critic whose scores choose the pairs."""
    clips = manifests.clips(folder).rows()
    with open_pool(recipe.workers) as pool:
        return score_clips(clips, manifests.prompts(folder).rows(), [recipe.score], folder, pool)


def score_clips(
    clips: Sequence[Clip], prompts: Sequence[Prompt], configs: Sequence[ScoreConfig], folder: RunFolder, pool: WorkerPool
) -> list[Score]:
    """Score the clips of a run folder with one critic after the other; the rows go into its scores.jsonl."""
    by_prompt = {row.prompt: row for row in prompts}
    path = folder.path.resolve()
    weights = {config.critic: weights_identity(config) for config in configs}
    rows = manifests.scores(folder)
    jobs: dict[str, ScoreJob] = {}
    wanted: dict[str, str] = {}
    for config in configs:
        changed = changed_options(config.critic, config.options)
        for clip in clips:
            key, prompt = rows.key_of(critic=config.critic, clip=clip.clip), by_prompt[clip.prompt]
            jobs[key] = ScoreJob(config.critic, path / clip.path, clip.clip, prompt)
            wanted[key] = fingerprint(config, weights[config.critic], clip.fingerprint, prompt.scene, *changed)
    task = ScoreTask(tuple(configs))
    return rows.update(wanted, lambda keys: pool.map(task, [jobs[key] for key in keys], label="score"))


def weights_identity(config: ScoreConfig) -> str | None:
    """Return a fingerprint of the files that the critic's option `weights` names, if they lie on this machine.

    Rows that were made with other weights under the same name are stale, which the settings alone would not show.

    Raises:
        InvalidInput: If it names a pipe or a device, or a bundled model that there is not.
    """
    name = str(config.options.get("weights", ""))
    try:
        weights = local_source(name) if name else None
    except MissingInput:  # critics of other packages may have names of their own
        return None
    return None if weights is None else path_fingerprint(weights)


def score_files(paths: Sequence[str], config: ScoreConfig, out: Path, workers: WorkersConfig = ALONE) -> list[Score]:
    """Score video files into a folder.

    Rows that the folder holds already, for the same settings and files, are kept. So are its rows of other clips and critics,
    also where the file is gone.

    Args:
        paths: Video files, folders of them, and globs.
        config: The critic, and which frames it judges.
        out: The folder of scores.jsonl, scores.csv, columns.json, report.html and the report's pictures.
        workers: Who scores.

    Returns:
        The rows of `paths`, best first.

    Raises:
        MissingInput: If a path names nothing.
        RunFolderBusy: If another process writes to the folder.
    """
    folder = RunFolder(out)
    rows = Manifest(
        folder / "scores.jsonl", Score, "critic clip", files=lambda row: _strips_of(row, folder), retry=may_have_passed
    )
    files = {rows.key_of(critic=config.critic, clip=path): path for path in find_videos(paths)}
    weights = weights_identity(config)
    settings = (config, *changed_options(config.critic, config.options))
    wanted = {key: fingerprint(*settings, weights, path_fingerprint(path)) for key, path in files.items()}
    task = ScoreTask((config,), out.resolve() / STRIPS)

    def score(keys: list[str]) -> Iterator[Score]:
        jobs = [ScoreJob(config.critic, files[key].resolve(), str(files[key])) for key in keys]
        return pool.map(task, jobs, label="score")

    with folder.lock(scores=True), open_pool(workers) as pool:
        scores = ranked(rows.update(wanted, score, keep_others=True))
        _write_results(folder, ranked(rows.rows()))
    return scores


def _write_results(folder: RunFolder, scores: Sequence[Score]) -> None:
    """Write what stands beside scores.jsonl: the same rows as CSV, what the columns mean, and the report."""
    write_columns(folder / "columns.json")
    write_csv(folder / "scores.csv", scores)
    cards = [ClipCard(row, load_strip(folder / STRIPS, row.critic, row.clip)) for row in scores]
    clips, critics = (len({row.clip for row in scores}), ", ".join(sorted({row.critic for row in scores})))
    write_score_report(folder / "report.html", cards, title=f"{clips} clips scored by {critics}")


def _strips_of(row: Score, folder: RunFolder) -> list[Path]:
    """Return the files that a scored row names: its picture."""
    return [strip_path(folder / STRIPS, row.critic, row.clip)] if row.loo_error is not None else []


def find_videos(paths: Sequence[str]) -> list[Path]:
    """Return the files that paths, folders and globs name, each once, in order. In folders only video files count.

    Raises:
        MissingInput: If one of them names nothing.
        InvalidInput: If there are no paths.
    """
    found: dict[Path, None] = {}
    for path in paths:
        videos = [video for match in _matches(path) for video in _videos_of(match)]
        if not videos:
            raise MissingInput(f"no video at {path}" + (": the folder holds none" if Path(path).is_dir() else ""))
        found |= dict.fromkeys(videos)
    if not found:
        raise InvalidInput("name at least one video, folder or glob, such as: videogpa score clips/")
    return list(found)


def _matches(path: str) -> list[Path]:
    """Return the path itself if it exists, whatever characters it holds; else what it matches as a glob."""
    if Path(path).exists():
        return [Path(path)]
    return [Path(match) for match in sorted(glob.glob(path, recursive=True))]  # noqa: PTH207 - Path.glob takes no absolute ones


def _videos_of(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file())
    return [path]

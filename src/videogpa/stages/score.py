"""score: reconstruct every clip with a critic, render the geometry back into the frames, and measure the disagreement.

In: clips.jsonl and the videos, or any video files. Out: scores.jsonl, one row per clip and critic; a clip that cannot be scored
gets a row with a status and a reason, whatever happened: one clip never ends the work on the others.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from videogpa.config import Recipe, ScoreConfig, WorkersConfig
from videogpa.critics.networks.sources import local_source
from videogpa.errors import InvalidInput, MissingInput
from videogpa.records import Clip, Prompt, Score
from videogpa.registry import CRITICS
from videogpa.report.player_files import PLAYERS, player_files, player_path, save_space
from videogpa.report.scores import ClipCard, write_score_report
from videogpa.report.tables import ranked, write_columns, write_csv
from videogpa.stages.clip_files import clip_fingerprint, clip_name, find_masks, find_videos
from videogpa.stages.one_clip import row_of
from videogpa.stages.shots import Part, find_shots
from videogpa.storage import manifests
from videogpa.storage.fingerprints import changed_options, fingerprint, path_fingerprint
from videogpa.storage.manifests import Manifest, may_have_passed
from videogpa.storage.run_folder import RunFolder
from videogpa.text_files import plural, shown
from videogpa.workers import WorkerPool, open_pool

if TYPE_CHECKING:
    from videogpa.scoring.scorer import Scorer

ALONE = WorkersConfig()  # this process scores
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreJob:
    """A clip, and the name of the critic that scores it."""

    critic: str
    video: Path
    clip: str
    prompt: Prompt | None = None
    masks: Path | None = None
    """What moves by itself in the clip, where the user says so."""
    frames: range | None = None
    """The shot of the video that is the clip; None for all of it."""


@dataclass(frozen=True)
class Outcome:
    """The row of a clip and, with status `error`, where in the program that arose."""

    score: Score
    traceback: str | None = None


@dataclass(frozen=True)
class ScoreTask:
    """The critics that score, and where videos for the report go; a `videogpa.workers.Task`."""

    critics: tuple[ScoreConfig, ...]
    players: Path | None = None
    """The folder for small videos of what the scores were computed from; None for none."""

    def load(self) -> Callable[[ScoreJob], Outcome]:
        """Return what scores a clip. A critic is loaded at its first clip."""
        return _Scorers(self)


class _Scorers:
    """The critics of a task, each loaded at its first clip and freed when this is closed."""

    def __init__(self, task: ScoreTask) -> None:
        self._players = task.players
        self._settings = {config.critic: config for config in task.critics}
        self._scorers: dict[str, Scorer] = {}

    def __call__(self, job: ScoreJob) -> Outcome:
        """Score a clip. An unexpected error becomes the clip's row.

        Raises:
            Exception: If the error concerns the other clips too: see `videogpa.stages.one_clip`.
        """
        if job.critic not in self._scorers:
            self._scorers[job.critic] = _scorer(self._settings[job.critic])
        return Outcome(
            *row_of(
                lambda: self._score(job),
                lambda reason: Score(clip=job.clip, critic=job.critic, status="error", reason=reason),
            )
        )

    def _score(self, job: ScoreJob) -> Score:
        from videogpa.report.panels import draw_panels
        from videogpa.report.players import write_player
        from videogpa.report.space import make_space
        from videogpa.scoring.frames import Shot

        video = job.video if job.frames is None else Shot(job.video, job.frames)
        scored = self._scorers[job.critic].score_clip(video, clip=job.clip, prompt=job.prompt, masks=job.masks)
        if self._players is not None and scored.reconstruction is not None and scored.render is not None:
            path = player_path(self._players, job.critic, job.clip)
            save_space(path, make_space(scored.reconstruction))
            names = scored.regions.names if scored.regions is not None else None
            write_player(path, draw_panels(scored.reconstruction, scored.render, names))
        return scored.score

    def close(self) -> None:
        for scorer in self._scorers.values():
            scorer.close()
        self._scorers.clear()


def _scorer(config: ScoreConfig) -> "Scorer":
    from videogpa.scoring.scorer import Scorer  # imported here: a batch with nothing left to do then needs no torch

    return Scorer.from_config(config)


def _rows(outcomes: Iterable[Outcome], clips: int) -> Iterator[Score]:
    """Yield the rows, and say at the end how many of the clips ended in an error."""
    failed = []
    for outcome in outcomes:
        if outcome.score.status == "error":
            failed.append(outcome.score)
            _log.debug("%s: %s", outcome.score.clip, outcome.traceback)
        yield outcome.score
    if failed:
        _log.error(
            "%s of %s ended in an unexpected error, and no other clip was held up. Their rows have the status `error` and a "
            "reason, and the same command tries them again; with --debug it shows where they arose. The first, %s: %s",
            f"{len(failed):,}", plural(clips, "clip"), shown(failed[0].clip), failed[0].reason,
        )  # fmt: skip


def run(recipe: Recipe, folder: RunFolder) -> list[Score]:
    """Score the candidates of the training prompts with the critic whose scores choose the pairs."""
    clips = manifests.clips(folder).rows()
    with open_pool(recipe.workers) as pool:
        return score_clips(clips, manifests.prompts(folder).rows(), [recipe.score], folder, pool)


def score_clips(
    clips: Sequence[Clip], prompts: Sequence[Prompt], configs: Sequence[ScoreConfig], folder: RunFolder, pool: WorkerPool
) -> list[Score]:
    """Score the clips of a run folder with one critic after the other; the rows go into its scores.jsonl.

    Raises:
        MissingInput: If a clip's prompt is not among the prompts.
    """
    by_prompt = {row.prompt: row for row in prompts}
    unknown = sorted({clip.prompt for clip in clips} - set(by_prompt))
    if unknown:
        raise MissingInput(
            f"{folder / 'clips.jsonl'} has clips of {plural(len(unknown), 'prompt')} that prompts.jsonl does not have, such as "
            f"{shown(unknown[0])}: `videogpa run {folder.path}` makes both again"
        )
    path = folder.path.resolve()
    weights = {config.critic: weights_identity(config) for config in configs}
    rows = manifests.scores(folder)
    jobs: dict[str, ScoreJob] = {}
    wanted: dict[str, str] = {}
    for config in configs:
        changed = (*changed_options(config.critic, config.options), *CRITICS.version_of(config.critic))
        for clip in clips:
            key, prompt = rows.key_of(critic=config.critic, clip=clip.clip), by_prompt[clip.prompt]
            jobs[key] = ScoreJob(config.critic, path / clip.path, clip.clip, prompt)
            wanted[key] = fingerprint(
                config, weights[config.critic], clip.fingerprint, prompt.scene, *changed, *_read_as(prompt)
            )
    task = ScoreTask(tuple(configs))
    return rows.update(wanted, lambda keys: _rows(pool.map(task, [jobs[key] for key in keys], label="score"), len(keys)))


def _read_as(prompt: Prompt) -> list[str]:
    """Return what the fingerprint of a prompt's rows holds of its reading: nothing where it has none."""
    return [] if prompt.reading is None else [prompt.reading]


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


def score_files(
    paths: Sequence[str],
    config: ScoreConfig,
    out: Path,
    workers: WorkersConfig = ALONE,
    masks: Path | None = None,
    *,
    shots: bool = False,
) -> list[Score]:
    """Score video files into a folder.

    Rows that the folder holds already, for the same settings and files, are kept. So are its rows of other clips and critics,
    also where the file is gone.

    Args:
        paths: Video files, folders of them or of a clip's frames, and globs: see `find_videos`.
        config: The critic, and which frames it judges.
        out: The folder of scores.jsonl, scores.csv, columns.json, report.html and the report's pictures.
        workers: Who scores.
        masks: A folder of masks, of what moves by itself; see `find_masks`.
        shots: Score each shot of a file that is cut by itself, as the clip FILE#FIRST-LAST.

    Returns:
        The rows of `paths`, best first.

    Raises:
        InvalidInput: If there are masks, and each shot is to be scored.
        MissingInput: If a path names nothing.
        RunFolderBusy: If another process writes to the folder.
    """
    folder = RunFolder(out)
    rows = Manifest(
        folder / "scores.jsonl", Score, "critic clip", files=lambda row: _players_of(row, folder), retry=may_have_passed
    )
    if shots and masks is not None:
        raise InvalidInput("masks are those of whole clips: leave out --masks or --shots")
    files = _by_name(find_videos(paths))
    weights = weights_identity(config)
    settings = (config, *changed_options(config.critic, config.options), *CRITICS.version_of(config.critic))
    found = {} if masks is None else find_masks(masks, files)
    task = ScoreTask((config,), out.resolve() / PLAYERS)

    with folder.lock(scores=True), open_pool(workers) as pool:
        parts = find_shots(files, pool) if shots else {name: (name, None) for name in files}
        keys = {rows.key_of(critic=config.critic, clip=clip): clip for clip in parts}

        def identity(clip: str) -> str:
            name, frames = parts[clip]
            mask = [clip_fingerprint(found[name])] if name in found else []
            shot = [] if frames is None else [[frames.start, frames.stop]]
            return fingerprint(*settings, weights, clip_fingerprint(files[name]), *mask, *shot)

        def score(left: list[str]) -> Iterator[Score]:
            jobs = [_job(config.critic, keys[key], files, parts, found) for key in left]
            return _rows(pool.map(task, jobs, label="score"), len(jobs))

        wanted = {key: identity(clip) for key, clip in keys.items()}
        scores = ranked(rows.update(wanted, score, keep_others=True))
        _write_results(folder, ranked(rows.rows()))
    return scores


def _job(critic: str, clip: str, files: Mapping[str, Path], parts: Mapping[str, Part], masks: Mapping[str, Path]) -> ScoreJob:
    name, frames = parts[clip]
    return ScoreJob(critic, files[name].absolute(), clip, masks=masks.get(name), frames=frames)


def _by_name(files: Sequence[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for file in files:
        if named.setdefault(clip_name(file), file) != file:
            raise InvalidInput(f"two files are both shown as {shown(clip_name(file))}: rename one of them")
    return named


def _write_results(folder: RunFolder, scores: Sequence[Score]) -> None:
    """Write what stands beside scores.jsonl: the same rows as CSV, what the columns mean, and the report."""
    write_columns(folder / "columns.json")
    write_csv(folder / "scores.csv", scores)
    cards = [ClipCard(row, player_path(Path(PLAYERS), row.critic, row.clip)) for row in scores]
    clips, critics = (len({row.clip for row in scores}), ", ".join(sorted({row.critic for row in scores})))
    write_score_report(folder / "report.html", cards, title=f"{plural(clips, 'clip')} scored by {critics}")


def _players_of(row: Score, folder: RunFolder) -> list[Path]:
    """Return the files that a scored row names: those that the report plays. Those of earlier versions have a picture."""
    path = player_path(folder / PLAYERS, row.critic, row.clip)
    picture = (folder / "strips" / path.name).with_suffix(".jpg")
    return player_files(path) if row.loo_error is not None and not picture.exists() else []

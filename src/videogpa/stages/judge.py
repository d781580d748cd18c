"""judge: how good do clips look, by networks that the user names? Geometry is the business of `score`.

In: video files, or clips.jsonl of a run folder. Out: judgements.jsonl, one row per clip and judge; a clip that cannot be judged
gets a row with a status and a reason: one clip never ends the work on the others.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from videogpa.config import JudgeConfig, WorkersConfig
from videogpa.critics.networks.sources import local_source
from videogpa.errors import InvalidInput, MissingInput
from videogpa.judges.cards import cards_of, measures_of
from videogpa.prompts.files import read_file
from videogpa.prompts.ids import as_file_name
from videogpa.records import Clip, Judgement, Prompt
from videogpa.registry import JUDGES, build, load
from videogpa.report.judgements import write_judgements_csv
from videogpa.stages.clip_files import clip_fingerprint, clip_name, find_videos
from videogpa.stages.one_clip import row_of
from videogpa.storage import manifests
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.text_files import plural, shown
from videogpa.workers import WorkerPool, open_pool

if TYPE_CHECKING:
    from videogpa.judges.base import Judge

ALONE = WorkersConfig()  # this process judges
_OF_THE_MACHINE = {"device"}
"""Options that change no number."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgeJob:
    """A clip, and the name of the judge."""

    judge: str
    video: Path
    clip: str
    text: str | None = None


@dataclass(frozen=True)
class JudgeTask:
    """The judges; a `videogpa.workers.Task`."""

    judges: tuple[JudgeConfig, ...]

    def load(self) -> Callable[[JudgeJob], tuple[Judgement, str | None]]:
        """Return what judges a clip. A judge is loaded at its first clip."""
        return _Judges(self.judges)


class _Judges:
    """The judges of a task, each loaded at its first clip; one at a time is kept, since they are large."""

    def __init__(self, judges: tuple[JudgeConfig, ...]) -> None:
        self._settings = {config.judge: config for config in judges}
        self._loaded: tuple[str, Judge] | None = None

    def __call__(self, job: JudgeJob) -> tuple[Judgement, str | None]:
        judge = self._judge(job.judge)
        return row_of(
            lambda: _judged(judge, job),
            lambda reason: Judgement(clip=job.clip, judge=job.judge, status="error", reason=reason),
        )

    def _judge(self, name: str) -> "Judge":
        if self._loaded is None or self._loaded[0] != name:
            self.close()
            judge: Judge = build(JUDGES, name, self._settings[name].options)
            _say(name, judge)
            self._loaded = (name, judge)
        return self._loaded[1]

    def close(self) -> None:
        self._loaded = None


def _say(name: str, judge: "Judge") -> None:
    """Say what judges: the weights, their digest, and the licence of those that were published for it."""
    card = cards_of(name)[0]
    used = ", ".join(f"{what} {value}" for what, value in judge.details.items())
    _log.info("judge %s: %s. Published as %s: %s, %s", name, used, card.weights, card.licence, card.download)


def _judged(judge: "Judge", job: JudgeJob) -> Judgement:
    from videogpa.judges.base import CannotJudge, of_file
    from videogpa.video import UnreadableVideo

    row = Judgement(clip=job.clip, judge=job.judge, status="ok", details=dict(judge.details))
    begun = time.perf_counter()
    try:
        numbers = judge.judge(of_file(job.video, job.text))
    except CannotJudge as error:
        return row.model_copy(update={"status": "declined", "reason": str(error)})
    except UnreadableVideo as error:
        return row.model_copy(update={"status": "unreadable", "reason": str(error)})
    found = {name: numbers[name] for name in measures_of(job.judge)}
    seconds = round(time.perf_counter() - begun, 3)
    return Judgement.model_validate({**row.model_dump(), "numbers": found, "seconds": seconds})  # which refuses NaN


def judge_clips(
    clips: Sequence[Clip], prompts: Sequence[Prompt], judges: Sequence[JudgeConfig], folder: RunFolder, pool: WorkerPool
) -> list[Judgement]:
    """Judge the clips of a run folder; the rows go into its judgements.jsonl."""
    texts = {row.prompt: row.text for row in prompts}
    path = folder.path.resolve()
    jobs = [
        (JudgeJob(config.judge, path / clip.path, clip.clip, texts.get(clip.prompt) or None), clip.fingerprint)
        for config in judges
        for clip in clips
    ]
    return _rows(jobs, judges, folder, pool, keep_others=False)


def judge_files(
    paths: Sequence[str],
    judges: Sequence[JudgeConfig],
    out: Path,
    workers: WorkersConfig = ALONE,
    *,
    prompts: Path | None = None,
) -> list[Judgement]:
    """Judge video files into a folder.

    Rows that the folder holds already, for the same settings and files, are kept. So are its rows of other clips and judges.

    Args:
        paths: Video files, folders of them or of a clip's frames, and globs: see `find_videos`.
        judges: The judges.
        out: The folder of judgements.jsonl and judgements.csv; it may be one of scores.
        workers: Who judges.
        prompts: A file of prompts, of which a clip has the text: see `texts_of`.

    Returns:
        The rows of `paths`, judge by judge.

    Raises:
        InvalidInput: If no judge is named, or a judge reads texts and there are none.
        MissingInput: If a path names nothing, or weights are not there.
        RunFolderBusy: If another process writes to the folder.
    """
    if not judges:
        raise InvalidInput("name a judge and its weights, such as --judge dino=FOLDER; `videogpa list judges` shows them")
    files = {clip_name(file): file for file in find_videos(paths)}
    texts = texts_of(files, prompts) if prompts is not None else {}
    folder = RunFolder(out)
    with folder.lock(scores=True), open_pool(workers) as pool:
        jobs = [
            (JudgeJob(config.judge, file.absolute(), name, texts.get(name)), clip_fingerprint(file))
            for config in judges
            for name, file in files.items()
        ]
        rows = _rows(jobs, judges, folder, pool, keep_others=True)
        write_judgements_csv(folder / "judgements.csv", manifests.judgements(folder).rows())
    return rows


def texts_of(clips: Mapping[str, Path], prompts: Path) -> dict[str, str]:
    """Return the text of each clip that has one: of the prompt that names the file, or whose id the file or its folder has.

    Args:
        clips: Name -> file.
        prompts: A file of prompts (docs/reference/prompts.md).

    Raises:
        InvalidInput: If the file cannot be read.
        MissingInput: If no clip has a prompt in it.
    """
    rows = read_file(prompts)
    by_video = {video: row.text for row in rows for video in row.videos}
    by_id = {row.prompt: row.text for row in rows}
    found = {}
    for name, file in clips.items():
        ids = (as_file_name(file.name if file.is_dir() else file.stem), as_file_name(file.absolute().parent.name))
        text = by_video.get(str(file.resolve())) or next((by_id[key] for key in ids if by_id.get(key)), None)
        if text:
            found[name] = text
    if not found:
        raise MissingInput(
            f"{shown(prompts)} has a text of none of the clips: a prompt names its clip as `video`, or its id is the "
            f"name of the clip's file or folder, such as {next(iter(clips.values())).stem}"
        )
    return found


def _rows(
    jobs: Sequence[tuple[JudgeJob, str]],
    judges: Sequence[JudgeConfig],
    folder: RunFolder,
    pool: WorkerPool,
    *,
    keep_others: bool,
) -> list[Judgement]:
    """Make the rows that are not there for the same settings, weights, clips and, where the judge reads it, text."""
    made_with = {config.judge: _identity(config) for config in judges}
    reads_text = {config.judge: load(JUDGES, config.judge).READS_TEXT for config in judges}
    rows = manifests.judgements(folder)
    by_key = {rows.key_of(judge=job.judge, clip=job.clip): job for job, _ in jobs}
    wanted = {
        rows.key_of(judge=job.judge, clip=job.clip): fingerprint(
            "judge", made_with[job.judge], clip, *([job.text] if reads_text[job.judge] else [])
        )
        for job, clip in jobs
    }
    task = JudgeTask(tuple(judges))

    def make(keys: list[str]) -> Iterator[Judgement]:
        return _counted(pool.map(task, [by_key[key] for key in keys], label="judge"), len(keys))

    return rows.update(wanted, make, keep_others=keep_others)


def _identity(config: JudgeConfig) -> list[object]:
    """Return what the fingerprint of a judge's rows holds of it: its options, and the content of files that they name.

    Raises:
        MissingInput: If weights are not there, and can be no hub id.
    """
    options = {name: value for name, value in config.options.items() if name not in _OF_THE_MACHINE}
    local = local_source(str(options["weights"]))
    named = [Path(value) for name, value in options.items() if name != "weights" and isinstance(value, str)]
    files = [path_fingerprint(path) for path in ([local] if local else []) + [path for path in named if path.is_file()]]
    return [config.judge, options, files, *JUDGES.version_of(config.judge)]


def require_weights(judges: Iterable[JudgeConfig]) -> None:
    """Check that the weights of judges are on this machine or can be names of the hub.

    Raises:
        MissingInput: If some are not.
    """
    for config in judges:
        _identity(config)


def _counted(outcomes: Iterable[tuple[Judgement, str | None]], clips: int) -> Iterator[Judgement]:
    """Yield the rows, and say at the end how many clips ended in an error."""
    failed = []
    for row, traceback in outcomes:
        if row.status == "error":
            failed.append(row)
            _log.debug("%s: %s", row.clip, traceback)
        yield row
    if failed:
        _log.error(
            "%s of %s ended in an unexpected error; their rows say so, and the same command tries again. The first, %s: %s",
            f"{len(failed):,}", plural(clips, "judgement"), shown(failed[0].clip), failed[0].reason,
        )  # fmt: skip

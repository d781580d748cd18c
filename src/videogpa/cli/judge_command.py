"""The command `videogpa judge`: see `videogpa.cli.run_commands` for what a command's function is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videogpa.cli.score_flags import refuse_run_folders
from videogpa.defaults import Settings

if TYPE_CHECKING:
    from videogpa.records import Judgement


def judge_files(
    paths: str | Path | Sequence[str | Path],
    *,
    judge: Settings = (),
    prompts: str | Path | None = None,
    out: str | Path = "judged",
    workers: int | None = None,
    ray: str | None = None,
) -> "list[Judgement]":
    """Judge how good clips look, by networks whose weights you name: consistency of subjects, aesthetics, people's preference.

    Geometry is measured by `videogpa score`; a judge knows nothing of it. Writes judgements.jsonl (one row per clip and judge)
    and judgements.csv into the folder --out. Clips that cannot be judged are rows with a reason, not numbers. Rows of other
    clips and judges that the folder holds already stay. Nothing is fetched that is not named.

        videogpa judge clips/ --judge dino=models/dino-vitb16
        videogpa judge clips/ --judge dino=facebook/dino-vitb16 --judge dino.device=cpu

    The judges, their weights and licences: `videogpa list judges`, and docs/how-to/judges.md. A run's evaluation asks those of
    `evaluate.judges`.

    Args:
        paths: Video files, folders of them or of a clip's frames, and globs.
        judge: A judge and its weights, NAME=WEIGHTS: a folder, a file, or a hub id; or NAME.OPTION=VALUE. May be repeated.
        prompts: A file of prompts, for judges that read what a clip was asked to show. A prompt's `video`, or its id, which is
            the name of the clip's file or folder, says which clip is meant.
        out: The folder of the results, which may be one of scores. The same folder again continues where it was.
        workers: Judge with that many workers, each with a GPU of its own where there are GPUs. Several need Ray.
        ray: The address of a running Ray cluster, or auto.

    Returns:
        A row for each judge and clip. `videogpa.MEASURES` says what numbers mean.

    Raises:
        FileNotFoundError: If a path names nothing, or weights are not there.
        ValueError: If no judge is named, it is unknown, or has no weights.

    Examples:
        >>> rows = videogpa.judge_files(["clips/"], judge={"dino": "models/dino-vitb16"}, out="judged")
        >>> [(row.clip, row.numbers["subject_consistency"]) for row in rows if row.status == "ok"]
    """
    from videogpa.config import judge_configs, workers_config
    from videogpa.stages import judge as stage

    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    refuse_run_folders(names)
    count = 1 if workers is None else workers
    texts = None if prompts is None else Path(prompts)
    return stage.judge_files(names, judge_configs(judge), Path(out), workers_config(count, ray), prompts=texts)

"""The rows of train/metrics.jsonl: what a training measures at its steps."""

from pathlib import Path
from typing import Literal

from videogpa.config import TrainConfig
from videogpa.records import Row
from videogpa.storage.files import write_text
from videogpa.storage.manifests import Manifest
from videogpa.storage.run_folder import RunFolder


class MetricsRow(Row):
    """One line of metrics.jsonl: means over the pairs of a step before its update, or over the held-out pairs.

    `videogpa.training.losses.LossOutput` says what the numbers from `loss` to `margin` are. A loss that runs the winners only
    (`sft`) has gains on held-out pairs alone.
    """

    step: int
    """Steps finished before: training and held-out rows of one step are of the same policy."""
    split: Literal["train", "held_out"] = "train"
    loss: float
    static: float | None = None
    winner_gain: float | None = None
    loser_gain: float | None = None
    accuracy: float | None = None
    winner_gain_se: float | None = None
    """Of held-out rows: the standard error of `winner_gain` over prompts; None if there are fewer than two."""
    accuracy_se: float | None = None
    margin: float | None = None
    gradient_norm: float | None = None
    """Before clipping."""
    learning_rate: float | None = None
    pairs_per_second: float | None = None
    memory_gib: float | None = None
    """The peak since the process began: of the GPU's memory, or without a GPU of the process's."""
    seconds: float


def metrics(folder: RunFolder) -> Manifest[MetricsRow]:
    """Return the manifest of the run's metrics."""
    return metrics_at(folder / "train" / "metrics.jsonl")


def metrics_at(path: Path) -> Manifest[MetricsRow]:
    """Return the manifest of metrics at a path. Damaged rows of it are lost: no step is taken again for their sake."""
    return Manifest(path, MetricsRow, "split step", lost="the curves of the report lack them")


def mark(folder: RunFolder, fingerprint: str) -> None:
    """Give the rows the fingerprint of their training that this version computes."""
    rows = metrics(folder)
    marked = [row.model_copy(update={"fingerprint": fingerprint}) for row in rows.rows()]
    write_text(rows.path, "".join(row.model_dump_json() + "\n" for row in marked))


def drop_end(folder: RunFolder, config: TrainConfig, steps: int) -> None:
    """Drop the rows that a training of `steps` steps has because it ends there, and that a longer one does not have."""
    rows = metrics(folder)
    ends = {("train", steps - 1): config.log_every, ("held_out", steps): config.validate_every}
    kept = [row for row in rows.rows() if row.step % ends.get((row.split, row.step), 1) == 0]
    rows.drop_stale({rows.key(row): row.fingerprint for row in kept})

"""The warnings that are read off the metrics of a training, and the trackers that they are sent to."""

import importlib.util
import logging
import math
from collections import deque
from collections.abc import Sequence
from statistics import fmean, median

import torch
from accelerate import Accelerator

from videogpa.config import TrainConfig
from videogpa.errors import UserError
from videogpa.training.metrics import MetricsRow

_WINDOW = 100  # steps that the gains are averaged over: one step's gain is mostly noise
_SHORT, _EXPLODED = 10, 10.0  # the median loss of the last ten steps may be ten times that of the first ten

_log = logging.getLogger(__name__)


class TrainingMonitor:
    """Reads the training rows as they come: warns when the policy gets worse on the winners, stops when the loss explodes."""

    def __init__(self) -> None:
        self._first: list[float] = []
        self._losses: deque[float] = deque(maxlen=_SHORT)
        self._winner: deque[float] = deque(maxlen=_WINDOW)
        self._loser: deque[float] = deque(maxlen=_WINDOW)
        self._warned = False

    def update(self, row: MetricsRow) -> None:
        """Take in the next training row.

        Raises:
            UserError: If the loss has exploded.
        """
        self._losses.append(row.loss)
        if len(self._first) < _SHORT:
            self._first.append(abs(row.loss))
        elif median(self._losses) > _EXPLODED * median(self._first):
            raise UserError(
                f"the loss has exploded: {median(self._losses):.3g} over the last {_SHORT} steps to step {row.step}, "
                f"{median(self._first):.3g} in the first {_SHORT}. Lower train.learning_rate, or raise "
                "train.warmup_steps. The last two checkpoints are kept in train/checkpoints."
            )
        if row.winner_gain is not None and row.loser_gain is not None:
            self._winner.append(row.winner_gain)
            self._loser.append(row.loser_gain)
            self._check_gains(row.step)

    def _check_gains(self, step: int) -> None:
        """Warn, once until it is over, when the mean gain on the winners is negative."""
        winner, loser = fmean(self._winner), fmean(self._loser)
        if winner >= 0:
            self._warned = False
        elif len(self._winner) == _WINDOW and not self._warned:
            self._warned = True
            _log.warning(
                "step %d: over the last %d steps the policy denoises the winners worse than the reference does (gain %+.1e, "
                "losers %+.1e). %s train.loss dpo+sft holds the winners; so do a lower train.learning_rate and fewer steps.",
                *(step, _WINDOW, winner, loser, _which_is_worse(winner, loser)),
            )


def _which_is_worse(winner: float, loser: float) -> str:
    """Say how a negative gain on the winners stands to that on the losers."""
    if loser < winner:
        return "Both get worse, the losers faster: accuracy may rise while clips get worse."
    if loser < 0:
        return "Both get worse, the winners no slower than the losers: the preference is not learned."
    return "Losers are denoised better, winners worse: the policy moves against the preference."


def require_number(what: str, value: float, step: int, dtype: torch.dtype) -> None:
    """Stop a training whose loss or gradient is NaN or infinite.

    Args:
        what: What the value is, for the message.
        value: The value.
        step: The step that it belongs to.
        dtype: What the network computes in.

    Raises:
        UserError: If the value is not finite.
    """
    if math.isfinite(value):
        return
    if dtype == torch.float16:
        advice = "float16 holds no number above 65,504: set train.dtype to bfloat16, with which the training begins anew."
    else:
        advice = "Lower train.learning_rate or train.beta."
    raise UserError(
        f"the {what} is {value} at step {step}: training stops. {advice} Checkpoints of the steps before it are kept in "
        "train/checkpoints."
    )


def choose_trackers(config: TrainConfig) -> list[str]:
    """Return the names of the recipe's trackers; if it names none, tensorboard where that is installed.

    Raises:
        UserError: If one that the recipe names is not installed.
    """
    if config.trackers is None:
        return ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    missing = [name for name in config.trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"train.trackers names {', '.join(missing)}, which is not installed: pip install {' '.join(missing)}")
    return list(config.trackers)


def start_trackers(accelerator: Accelerator, names: Sequence[str], config: TrainConfig) -> None:
    """Open the trackers, with the settings of the training. Tensorboard writes beside the metrics."""
    if names:
        accelerator.init_trackers("videogpa", config=_flat(config))


def send_to_trackers(accelerator: Accelerator, row: MetricsRow) -> None:
    """Send a row to the trackers, if there are any, as `train/loss`, `held_out/loss`, ..."""
    numbers = row.model_dump(exclude={"step", "split", "fingerprint"}, exclude_none=True)
    accelerator.log({f"{row.split}/{name}": value for name, value in numbers.items()}, step=row.step)


def _flat(config: TrainConfig) -> dict[str, float | int | str]:
    """Return the settings as tensorboard takes them: numbers and strings, without nesting."""
    timesteps = {f"timesteps_{name}": value for name, value in config.timesteps.model_dump().items()}
    return {**config.model_dump(mode="json", exclude={"timesteps", "trackers"}, exclude_none=True), **timesteps}

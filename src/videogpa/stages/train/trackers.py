"""Experiment trackers, through accelerate: the numbers of metrics.jsonl, live."""

import importlib.util
from collections.abc import Sequence

from accelerate import Accelerator

from videogpa.config import TrainConfig
from videogpa.errors import UserError
from videogpa.stages.train.metrics import MetricsRow


def chosen(config: TrainConfig) -> list[str]:
    """Return the trackers of the recipe; where it leaves them open, tensorboard if it is installed.

    Raises:
        UserError: If one that is asked for is not installed.
    """
    if config.trackers is None:
        return ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    missing = [name for name in config.trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"train.trackers names {', '.join(missing)}, which is not installed: pip install {' '.join(missing)}")
    return list(config.trackers)


def log(accelerator: Accelerator, row: MetricsRow) -> None:
    """Hand a row to the trackers, if there are any: `train/loss`, `held_out/loss`, ..."""
    numbers = row.model_dump(exclude={"step", "split", "fingerprint"}, exclude_none=True)
    accelerator.log({f"{row.split}/{name}": value for name, value in numbers.items()}, step=row.step)


def start(accelerator: Accelerator, names: Sequence[str], config: TrainConfig) -> None:
    """Open the trackers, which write beside the metrics (tensorboard) or to where their own settings say."""
    if names:
        accelerator.init_trackers("videogpa", config=_flat(config))


def _flat(config: TrainConfig) -> dict[str, float | int | str]:
    """Return the settings as tensorboard takes them."""
    timesteps = {f"timesteps_{name}": value for name, value in config.timesteps.model_dump().items()}
    return {**config.model_dump(exclude={"timesteps", "trackers"}), **timesteps}

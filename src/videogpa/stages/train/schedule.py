"""The learning rate as a function of the step, so that a resumed run needs no state of it."""

import math
from typing import Literal

Schedule = Literal["cosine", "constant"]


def learning_rate(step: int, *, peak: float, warmup: int, steps: int, schedule: Schedule = "cosine") -> float:
    """Return the rate of step 0, 1, ...: up to `peak` in a line over `warmup` steps, then down to 0 in half a cosine.

    Or, `constant`, at `peak` to the end. The same numbers as the schedules `cosine` and `constant_with_warmup` of diffusers and
    transformers: step 0 of a warm-up has rate 0.
    """
    if step < warmup:
        return peak * step / warmup
    if schedule == "constant":
        return peak
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))

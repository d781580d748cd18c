"""The learning rate as a function of the step, so that a resumed run needs no state of it."""

import math


def learning_rate(step: int, *, peak: float, warmup: int, steps: int) -> float:
    """Return the rate of step 0, 1, ...: up to `peak` in a line over `warmup` steps, then down to 0 in half a cosine.

    The same numbers as the `cosine` schedule of diffusers and transformers: step 0 of a warm-up has rate 0.
    """
    if step < warmup:
        return peak * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))

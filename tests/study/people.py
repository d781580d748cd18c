"""What raters of a test's study say."""

import json
import random
from collections.abc import Callable

from videogpa.study.records import Answers, Key


def answered(
    key: Key, rater: str, prefers: Callable[[str], str | None], *, seconds: float = 3.0, browser: str = "b0b0b0b0"
) -> Answers:
    """Answers of a rater who, of every item, prefers the arm that a function names; of scrambled clips the other one."""
    found = []
    for number, trial in enumerate(key.raters[rater]):
        item = key.items[trial.item]
        arm = next(arm for arm in item.arms if arm != "scrambled") if item.is_check else prefers(trial.item)
        choice = "same" if arm is None else "left" if item.arms[trial.left] == arm else "right"
        found.append({"trial": number, "choices": {"space": choice, "overall": choice}, "seconds": seconds})
    return Answers.model_validate({"study": key.study, "rater": rater, "browser": browser, "answers": found})


def simulated(prompts: int, raters: int, arms: tuple[str, ...], seed: int = 0) -> Key:
    """A key without clips, for statistics."""
    draw = random.Random(seed)
    items = {
        f"item{number}x{i}{j}": {
            "name": f"p{number}",
            "prompt": f"p{number}",
            "arms": (arms[left], arms[right]),
            "clips": (f"/{number}/{left}", f"/{number}/{right}"),
            "seconds": 1.0,
        }
        for number in range(prompts)
        for i in range(len(arms))
        for j in range(i)
        for left, right in [draw.sample([i, j], 2)]
    }
    plans = {f"rater{r}": [{"item": name, "left": draw.randint(0, 1)} for name in items] for r in range(raters)}
    whole = {"study": "abcdef", "made_by": "test", "seed": seed, "arms": arms, "items": items, "raters": plans}
    return Key.model_validate_json(json.dumps(whole))

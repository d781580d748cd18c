"""Which pairs of clips a study shows, and to whom in which order and on which side.

Every rater sees all pairs, so that how prompts and how raters differ can be told apart. About a tenth of the pairs come again
with sides changed, far from the first time; about one in twenty is a clip beside a scrambled one. Raters come in twos of
opposite sides; within a rater each side is as frequent as the other.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import Literal, TypeVar

from videogpa.study.records import Trial

T = TypeVar("T")

REPEATS, CHECKS = 0.10, 0.05  # shares of the pairs
FEWEST_REPEATS, FEWEST_CHECKS = 1, 2
_CODE = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters that look alike


@dataclass(frozen=True)
class Contest:
    """A pair of clips of the same name, by their arms in the order of the study's arms."""

    name: str
    arms: tuple[str, str]


def choose_contests(
    clips: Mapping[str, Mapping[str, T]], prompt_of: Callable[[str], str], pairs: int, draw: random.Random
) -> list[Contest]:
    """Choose pairs of clips: arms against each other equally often, and as many prompts as possible.

    Args:
        clips: The arms' clips by name.
        prompt_of: Returns the prompt of a clip's name.
        pairs: How many to choose; fewer are returned where there are fewer.
        draw: Draws which.
    """
    prompts = sorted({prompt_of(name) for names in clips.values() for name in names})
    draw.shuffle(prompts)
    queues = []
    for place, arms in enumerate(combinations(clips, 2)):
        # Each pair of arms begins at another prompt: 60 pairs of clips of 4 arms are then of 60 prompts, and not of 10.
        shift = place * len(prompts) // math.comb(len(clips), 2)
        rank = {prompt: number for number, prompt in enumerate(prompts[shift:] + prompts[:shift])}
        names = _spread(sorted(clips[arms[0]].keys() & clips[arms[1]].keys()), prompt_of, rank, draw)
        queues.append([Contest(name, arms) for name in names])
    return [contest for turn in zip_longest(*queues) for contest in turn if contest is not None][:pairs]


def _spread(names: Sequence[str], prompt_of: Callable[[str], str], rank: Mapping[str, int], draw: random.Random) -> list[str]:
    """Return names in an order in which every prompt comes once, by its rank, before one comes again."""
    seen: Counter[str] = Counter()
    turn = {}
    for name in draw.sample(list(names), len(names)):
        turn[name] = seen[prompt_of(name)]
        seen[prompt_of(name)] += 1
    return sorted(turn, key=lambda name: (turn[name], rank[prompt_of(name)]))


def number_of_repeats(pairs: int) -> int:
    """Return how many pairs are shown twice."""
    return min(max(round(REPEATS * pairs), FEWEST_REPEATS), pairs)


def number_of_checks(pairs: int) -> int:
    """Return how many pairs have a scrambled clip."""
    return max(math.ceil(CHECKS * pairs), FEWEST_CHECKS)


def plan_raters(
    firsts: Mapping[str, Literal[0, 1]], checks: Sequence[str], raters: int, draw: random.Random
) -> dict[str, tuple[Trial, ...]]:
    """Plan what each rater is shown.

    Args:
        firsts: For each item the panel of the arm that comes first among the study's arms, of a check that of the whole clip.
        checks: The items with a scrambled clip.
        raters: How many raters there are.
        draw: Draws order and sides.

    Returns:
        The trials of each rater by a code that the rater goes by.
    """
    plans: dict[str, tuple[Trial, ...]] = {}
    sides: dict[str, bool] = {}
    pairs = [item for item in firsts if item not in set(checks)]
    while len(plans) < raters:
        sides = (
            {item: not side for item, side in sides.items()}
            if len(plans) % 2
            else {**_half(pairs, draw), **_half(checks, draw)}
        )
        trials = {item: Trial(item=item, left=_panel(firsts[item], left=sides[item])) for item in firsts}
        plans.setdefault(code(draw, 6), _ordered(trials, pairs, draw))
    return plans


def code(draw: random.Random, length: int) -> str:
    """Return a random word."""
    return "".join(draw.choices(_CODE, k=length))


def _panel(first: Literal[0, 1], *, left: bool) -> Literal[0, 1]:
    return first if left else _other(first)


def _other(panel: Literal[0, 1]) -> Literal[0, 1]:
    return 0 if panel else 1


def _half(items: Sequence[str], draw: random.Random) -> dict[str, bool]:
    """Return for each item whether its first clip is on the left: for half of them, and of an odd one either."""
    begin = draw.random() < 0.5
    shuffled = draw.sample(list(items), len(items))
    return {item: bool(place % 2) == begin for place, item in enumerate(shuffled)}


def _ordered(trials: Mapping[str, Trial], pairs: Sequence[str], draw: random.Random) -> tuple[Trial, ...]:
    """Return trials in random order, with the repeats of pairs of the first half among the last third."""
    order = draw.sample(list(trials), len(trials))
    early = [item for item in order if item in set(pairs)][: max((len(pairs) + 1) // 2, number_of_repeats(len(pairs)))]
    planned = [trials[item] for item in order]
    for item in draw.sample(early, number_of_repeats(len(pairs))):
        at = draw.randint(2 * len(planned) // 3 + 1, len(planned))
        planned.insert(at, Trial(item=item, left=_other(trials[item].left), repeat=True))
    return tuple(planned)

"""Do the intervals of a study with people hold the truth as often as they say, and does `study plan` foretell its power?

    python benchmarks/study.py [--studies 2000] [--out benchmarks/results/study.md]

Studies are simulated from a known truth. Each rater judges each prompt. How much better the second clip of a pair looks is
normal: an effect, plus a part that all raters of a prompt share, a part that a rater adds on all prompts, and the rest, of
variance 1 in all; a pair nearer to 0 than a threshold is a tie. The true win rate follows from the normal distribution. For
three and four arms every prompt adds its own part to the strength of each arm, and so does every rater; the truth is then what
Davidson's model says of a very large study. Seeds are 0, 1, ...
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path

import torch
from torch import Tensor

from machine import processor
from videogpa.maths.agreement import davidson
from videogpa.maths.crossed import (
    Correlations,
    Share,
    Spread,
    crossed_spread,
    share_interval,
    share_of_votes,
    vote_correlations,
)
from videogpa.study.plan import Votes

DESIGNS = ((50, 5), (50, 25), (20, 3), (20, 10), (100, 3))
TIE = 0.25  # in standard deviations: about a fifth of the votes between equal arms
RESAMPLES = 1000


@dataclass(frozen=True)
class People:
    """How votes come about: shares of the variance of what a rater sees."""

    effect: float
    prompts: float = 0.3
    raters: float = 0.05

    @property
    def win_rate(self) -> float:
        """The true share of wins among votes that are no ties."""
        won, lost = _normal(self.effect - TIE), _normal(-self.effect - TIE)
        return won / (won + lost)


PEOPLE = {
    "no effect": People(0.0),
    "win rate .64": People(0.3),
    "win rate .91": People(1.0),
    "raters differ more": People(0.3, prompts=0.2, raters=0.2),
    "raters alike": People(0.3, prompts=0.3, raters=0.0),
    "prompts differ much": People(0.3, prompts=0.6, raters=0.05),
}


def _normal(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2))


def seen(people: People, prompts: int, raters: int, seed: int) -> Tensor:
    """Return what each rater answers to each prompt: 1 the second clip, 0 the first, 0.5 no difference."""
    generator = torch.Generator().manual_seed(seed)

    def normal(rows: int, columns: int, variance: float) -> Tensor:
        return torch.randn(rows, columns, generator=generator, dtype=torch.float64) * math.sqrt(variance)

    rest = 1 - people.prompts - people.raters
    value = people.effect + normal(prompts, 1, people.prompts) + normal(1, raters, people.raters)
    value = value + normal(prompts, raters, rest)
    return torch.where(value > TIE, 1.0, torch.where(value < -TIE, 0.0, 0.5))


def crossed(answers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of prompts and raters of a table of answers, one per vote."""
    prompt, rater = torch.meshgrid(*map(torch.arange, answers.shape), indexing="ij")
    return prompt.flatten(), rater.flatten()


def ours(answers: Tensor) -> tuple[float, float]:
    """The interval of `videogpa study read`."""
    flat, (prompt, rater) = answers.flatten(), crossed(answers)
    found = share_of_votes((flat == 1).double(), (flat != 0.5).double(), prompt, rater)
    assert isinstance(found, Share)
    return found.low, found.high


def independent(answers: Tensor) -> tuple[float, float]:
    """Wilson's interval, as if every vote were independent."""
    won, counted = int((answers == 1).sum()), int((answers != 0.5).sum())
    share = won / counted
    return share_interval(share, Spread(share * (1 - share) / counted, 1e3, 0.0, 0.0), least=counted)


def bootstrap(answers: Tensor, *, raters: bool) -> tuple[float, float]:
    """The percentile bootstrap over prompts, or over prompts and raters at once, each drawn on its own (pigeonhole)."""
    generator = torch.Generator().manual_seed(0)
    rows = _draws(answers.shape[0], generator)
    columns = _draws(answers.shape[1], generator) if raters else torch.ones(RESAMPLES, answers.shape[1], dtype=torch.float64)
    won, counted = (answers == 1).double(), (answers != 0.5).double()

    shares = ((rows @ won) * columns).sum(1) / ((rows @ counted) * columns).sum(1)
    low, high = shares.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return float(low), float(high)


def _draws(count: int, generator: torch.Generator) -> Tensor:
    """Return how often each of `count` units is drawn, in each resample."""
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator)
    return torch.zeros(RESAMPLES, count, dtype=torch.float64).scatter_add(1, drawn, torch.ones_like(drawn, dtype=torch.float64))


METHODS: dict[str, Callable[[Tensor], tuple[float, float]]] = {
    "votes independent": independent,
    "bootstrap of prompts": lambda answers: bootstrap(answers, raters=False),
    "bootstrap of both": lambda answers: bootstrap(answers, raters=True),
    "ours": ours,
}


def coverage(
    people: People, prompts: int, raters: int, studies: int, method: Callable[[Tensor], tuple[float, float]] = ours
) -> float:
    """Return in which share of simulated studies the interval of the win rate holds the truth."""
    intervals = (method(seen(people, prompts, raters, seed)) for seed in range(studies))
    return sum(low <= people.win_rate <= high for low, high in intervals) / studies


# What `study plan` foretells.


def votes_like(people: People) -> Votes:
    """Return what a plan needs to know of votes, measured on very large studies."""
    found = {}
    for prompts, raters in ((6000, 30), (30, 6000)):
        answers = seen(people, prompts, raters, 10**6)
        if raters > prompts:
            answers = answers.T
        counted = (answers != 0.5).double()
        off = ((answers == 1).double() - people.win_rate) * counted
        pairs = counted.sum(1).square() - counted.sum(1)
        alike = (off.sum(1).square() - off.square().sum(1)).sum() / pairs.sum()
        found[prompts] = (float(alike) / (people.win_rate * (1 - people.win_rate)), 1 - float(counted.mean()))
    return Votes(ties=found[6000][1], of_prompts=max(found[6000][0], 0.0), of_raters=max(found[30][0], 0.0))


def correlations_found(people: People, prompts: int, raters: int, studies: int) -> Correlations:
    """Return the means of the correlations that `videogpa study read` finds in simulated studies."""
    found = []
    for seed in range(studies):
        answers = seen(people, prompts, raters, seed)
        decided = answers.flatten() != 0.5
        numbers = (torch.unique(of[decided], return_inverse=True)[1] for of in crossed(answers))
        found.append(vote_correlations((answers.flatten()[decided] == 1).double(), *numbers))
    alike = torch.tensor([[each.of_prompts, each.of_raters] for each in found if each is not None], dtype=torch.float64)
    return Correlations(*alike.mean(0).tolist())


def found_share(people: People, prompts: int, raters: int, studies: int) -> float:
    """Return in which share of simulated studies the interval leaves one half out."""
    return (
        sum(not low <= 0.5 <= high for low, high in (ours(seen(people, prompts, raters, s)) for s in range(studies))) / studies
    )


def power_lines(studies: int) -> Iterator[str]:
    """Yield the lines about power."""
    yield "## How often an effect is found"
    yield ""
    yield "| people | win rate | ties | of prompts | of raters | prompts | raters | foretold | simulated |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in ("win rate .64", "raters differ more", "raters alike", "prompts differ much"):
        people = PEOPLE[name]
        votes = votes_like(people)
        known = f"{people.win_rate:.2f} | {votes.ties:.2f} | {votes.of_prompts:.2f} | {votes.of_raters:.2f}"
        for prompts, raters in ((50, 5), (100, 10), (30, 20)):
            foretold = votes.power(people.win_rate, prompts, raters)
            simulated = found_share(people, prompts, raters, studies)
            yield f"| {name} | {known} | {prompts} | {raters} | {foretold:.2f} | {simulated:.2f} |"


# Several arms: Davidson's strengths.

DEVIATIONS = (0.8, 0.3)  # of the strength of an arm between prompts and between raters
Ballots = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""First arm, second arm, outcome, prompt and rater of each vote."""


def arms_seen(
    strengths: Sequence[float], prompts: int, raters: int, seed: int, *, deviations: tuple[float, float] = DEVIATIONS
) -> Ballots:
    """Simulate votes between all pairs of arms on all prompts; deviations are those of the parts of prompts and raters."""
    generator = torch.Generator().manual_seed(seed)
    arms = len(strengths)
    of_prompt = torch.randn(prompts, arms, generator=generator, dtype=torch.float64) * deviations[0]
    of_rater = torch.randn(raters, arms, generator=generator, dtype=torch.float64) * deviations[1]
    worth = torch.tensor(strengths, dtype=torch.float64) + of_prompt[:, None] + of_rater[None]
    first, second = torch.tensor(list(combinations(range(arms), 2))).T
    one, other = worth[..., first].flatten(), worth[..., second].flatten()
    chances = torch.stack([one, other, (one + other) / 2 - 0.5], 1).softmax(1)
    outcome = torch.multinomial(chances, 1, generator=generator)[:, 0]
    prompt, rater, pair = torch.meshgrid(*map(torch.arange, (prompts, raters, len(first))), indexing="ij")
    return first[pair.flatten()], second[pair.flatten()], outcome, prompt.flatten(), rater.flatten()


def arms_coverage(strengths: Sequence[float], prompts: int, raters: int, studies: int) -> list[float]:
    """Return for each arm but the first in which share of studies the interval of its strength holds the truth."""
    # The truth follows from what a single vote is like: the parts of prompts and raters may be drawn as one.
    arms, (first, second, outcome, _, _) = (
        len(strengths),
        arms_seen(strengths, 20_000, 1, 10**6, deviations=(math.hypot(*DEVIATIONS), 0.0)),
    )
    truth = davidson(first, second, outcome, arms).strengths
    held = torch.zeros(arms)
    for seed in range(studies):
        first, second, outcome, prompt, rater = arms_seen(strengths, prompts, raters, seed)
        fit = davidson(first, second, outcome, arms)
        for arm in range(1, arms):
            half = crossed_spread(fit.influence[:, arm], prompt, rater).half_width()
            held[arm] += abs(fit.strengths[arm] - truth[arm]) <= half
    return (held[1:] / studies).tolist()


def lines(studies: int) -> Iterator[str]:
    """Yield the lines of the page of results."""
    chance = 200 * math.sqrt(0.0475 / studies)
    yield f"Coverage in %, which should be 95; {studies} studies a cell, so that chance alone moves a cell by {chance:.1f}."
    yield ""
    yield "## The win rate among votes that are no ties"
    yield ""
    yield f"| people | prompts | raters | {' | '.join(METHODS)} |"
    yield "|---" * (3 + len(METHODS)) + "|"
    for name, people in PEOPLE.items():
        for prompts, raters in DESIGNS:
            cells = [f"{100 * coverage(people, prompts, raters, studies, method):.1f}" for method in METHODS.values()]
            yield f"| {name} | {prompts} | {raters} | {' | '.join(cells)} |"
    yield ""
    yield "## The strengths of Davidson's model, against the first arm"
    yield ""
    yield "| true strengths | prompts | raters | coverage of each |"
    yield "|---|---|---|---|"
    for strengths in ((0.0, 0.5, 1.0), (0.0, 0.0, 0.3, 1.5)):
        for prompts, raters in ((50, 5), (20, 3), (30, 15)):
            held = arms_coverage(strengths, prompts, raters, studies // 2)
            shown = ", ".join(f"{100 * each:.1f}" for each in held)
            yield f"| {', '.join(map(str, strengths))} | {prompts} | {raters} | {shown} |"
    yield ""
    yield from power_lines(studies // 2)


def main() -> None:
    """Simulate, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/study.md"))
    given = parser.parse_args()
    head = (
        f"# What the intervals of a study are worth\n\n{processor()}; `python benchmarks/study.py --studies {given.studies}`.\n"
    )
    with given.out.open("w", encoding="utf-8") as stream:
        for line in chain(head.splitlines(), lines(given.studies)):
            stream.write(line.rstrip() + "\n")
            stream.flush()


if __name__ == "__main__":
    main()

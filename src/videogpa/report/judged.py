"""What judges say of two models, in words and tables: for the terminal and the HTML reports."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from videogpa.findings import JudgeFindings, Wins
from videogpa.judges.cards import measures_of
from videogpa.measures import Measure, Verdict
from videogpa.registry import JUDGES
from videogpa.text_files import printable


@dataclass(frozen=True)
class JudgedLine:
    """One number of one judge, of two models."""

    judge: str
    model: str
    """The one that is compared with the base."""
    label: str
    """With an arrow in the better direction."""
    heading: str
    """The same, short."""
    meaning: str
    base: str
    other: str
    change: str
    interval: str
    counts: str
    """Clips on which the model wins, ties and losses; empty for what has no better direction."""
    wins: str
    """Its share of wins with the interval."""
    prompts: int
    verdict: Verdict


def judged_lines(models: Mapping[str, Mapping[str, JudgeFindings]]) -> list[JudgedLine]:
    """Return a line for each model, judge and number.

    Args:
        models: The compared model -> judge -> what it found.
    """
    return [
        JudgedLine(
            judge=judge,
            model=model,
            label=f"{measure.label} {measure.arrow}".rstrip(),
            heading=measure.heading,
            meaning=measure.meaning,
            base=_number(change.base),
            other=_number(change.aligned),
            change=_signed(change.difference),
            interval=f"{_signed(change.low)}, {_signed(change.high)}",
            counts="" if change.wins is None else f"{change.wins.wins} / {change.wins.ties} / {change.wins.losses}",
            wins="" if change.wins is None else share_of_wins(change.wins),
            prompts=change.n,
            verdict=change.verdict,
        )
        for model, judges in models.items()
        for judge, found in judges.items()
        for name, measure in _measures(judge, found).items()
        if (change := found.changes.get(name)) is not None
    ]


def _measures(judge: str, found: JudgeFindings) -> Mapping[str, Measure]:
    """Return what is known of a judge's numbers: of one whose package is not installed here, their names."""
    if judge in JUDGES:
        return measures_of(judge)
    return {name: Measure(name, None, f"a number of {judge}, a judge that is not installed here") for name in found.changes}


def judged_groups(models: Mapping[str, Mapping[str, JudgeFindings]]) -> dict[str, list[JudgedLine]]:
    """Return the lines of each model and judge under their heading, for a page."""
    groups: dict[str, list[JudgedLine]] = {}
    for line in judged_lines(models):
        groups.setdefault(f"{line.model}, judge {line.judge}, {line.prompts} prompts", []).append(line)
    return groups


def share_of_wins(wins: Wins) -> str:
    """Return a share of wins, ties counting half, with its interval, in per cent."""
    return f"{100 * wins.share:.0f} % [{100 * wins.low:.0f}, {100 * wins.high:.0f}]"


def judged_tables(lines: Sequence[JudgedLine]) -> Iterator[Table]:
    """Yield what the terminal shows: a table for each model, in 80 columns."""
    for model in dict.fromkeys(line.model for line in lines):
        of_model = [line for line in lines if line.model == model]
        prompts = " or ".join(str(n) for n in sorted({line.prompts for line in of_model}))
        judges = ", ".join(dict.fromkeys(line.judge for line in of_model))
        title = Text(printable(f"{model} against the base, by {judges}", line=True))
        table = Table(title=title, title_justify="left", caption_justify="left")
        table.caption = f"wins / ties / losses by clip; share of wins, ties half, with 95 % intervals over {prompts} prompts"
        for heading in ("number", "base", "other", "counts", "share of wins", "verdict"):
            table.add_column(heading, justify="left" if heading in ("number", "verdict") else "right", no_wrap=True)
        for line in of_model:
            table.add_row(Text(printable(line.heading, line=True)), line.base, line.other, line.counts, line.wins, line.verdict)
        yield table


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")

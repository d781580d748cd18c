"""What the terminal shows when a stage is done."""

import math
from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from videogpa.measures import MEASURES, MOTIONS
from videogpa.records import Clip, CriticFindings, Evaluation, Latents, Pair, Prompt, Score
from videogpa.report.verdict import headline

SHOWN = (*MOTIONS, "loo_error", "failing", "error_3dcs", "psnr", "epipolar")  # motion first: a gain counts at equal motion
BAR, BAR_WIDTH, HEIGHTS = "█", 30, " ▁▂▃▄▅▆▇█"


def summarise(result: object) -> RenderableType:
    """Say in a line or a table what a stage returned."""
    if isinstance(result, Evaluation):
        return Group(*(part for critic, findings in result.critics.items() for part in _findings(critic, findings)))
    if isinstance(result, list) and result and isinstance(result[0], Pair):
        return _pairs(result)
    if isinstance(result, list) and result and isinstance(result[0], Score):
        return f"{sum(row.status == 'ok' for row in result)} of {len(result)} clips scored"
    if isinstance(result, list):
        kinds: dict[type, str] = {Prompt: "prompts", Clip: "clips", Latents: "encoded clips"}
        return f"{len(result)} {kinds.get(type(result[0]), 'rows') if result else 'rows'}"
    return Text(str(result))


def _pairs(rows: list[Pair]) -> RenderableType:
    from videogpa.stages.pair import DISTRIBUTIONS, distribution, funnel

    counts = funnel(rows)
    steps = Table(title="groups of candidates", title_justify="left", show_header=False)
    for label, count in {"all": counts.groups, **counts.left, "pairs": counts.pairs}.items():
        steps.add_row(label, str(count), BAR * round(BAR_WIDTH * count / max(counts.groups, counts.pairs, 1)))
    shown = {column: values for column in DISTRIBUTIONS if (values := distribution(rows, column))}
    caption = "; ".join(f"{column}: {DISTRIBUTIONS[column]}" for column in shown)
    title = "distributions: quartiles and histogram"
    spreads = Table(title=title, title_justify="left", caption=caption, caption_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("of", "min", "25 %", "median", "75 %", "max", "", "n"):
        spreads.add_column(heading, justify="left" if heading in ("of", "") else "right", no_wrap=True)
    for column, values in shown.items():
        quartiles = [values[round(share * (len(values) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)]
        spreads.add_row(column, *(f"{value:.3g}" for value in quartiles), _histogram(values), str(len(values)))
    return Group(steps, spreads) if spreads.row_count else steps


def _histogram(values: list[float], bins: int = 10) -> str:
    """Draw sorted values as a line of blocks, between the least and the greatest of them."""
    low, width = values[0], (values[-1] - values[0]) or 1.0
    counts = Counter(min(int(bins * (value - low) / width), bins - 1) for value in values)
    most = max(counts.values())
    return "".join(HEIGHTS[math.ceil((len(HEIGHTS) - 1) * counts[bin] / most)] for bin in range(bins))


def _findings(critic: str, findings: CriticFindings) -> Iterator[RenderableType]:
    yield _changes(critic, findings)
    if findings.outcome is not None:
        style = {"better": "green", "worse": "red", "explained by less motion": "red"}.get(findings.outcome.verdict, "")
        yield Text(headline(critic, findings.outcome), style=style)


def _changes(critic: str, findings: CriticFindings) -> Table:
    """One line per measure, in 80 columns."""
    title = f"judged by {critic}, which {'also taught' if findings.chose_pairs else 'did not teach'}"
    shown = {name: findings.changes[name] for name in SHOWN if name in findings.changes}
    prompts = " or ".join(str(n) for n in sorted({change.n for change in shown.values()}))
    caption = f"95 % intervals of the paired difference, over {prompts or 'no'} prompts"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for heading in ("measure", "base", "aligned", "change", "interval", "verdict"):
        table.add_column(heading, justify="left" if heading in ("measure", "verdict") else "right", no_wrap=True)
    for name, row in shown.items():
        arrow = {"lower": "↓", "higher": "↑", None: ""}[MEASURES[name].better]
        interval = f"{row.low:+.4f} to {row.high:+.4f}"
        change = f"{row.difference:+.4f}"
        table.add_row(name + arrow, f"{row.base:.4f}", f"{row.aligned:.4f}", change, interval, row.verdict)
    return table

"""What the terminal shows when a stage is done."""

import math
from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from videogpa.measures import MEASURES
from videogpa.records import Clip, Evaluation, Latents, Pair, Prompt, Score

SHOWN = ("flow", "motion", "loo_score", "consistency", "psnr", "epipolar")  # motion first: a gain counts at equal motion
BAR, BAR_WIDTH, HEIGHTS = "█", 30, " ▁▂▃▄▅▆▇█"


def summarise(result: object) -> RenderableType:
    """Say in a line or a table what a stage returned."""
    if isinstance(result, Evaluation):
        return Group(*(_changes(critic, result) for critic in result.critics))
    if isinstance(result, list) and result and isinstance(result[0], Pair):
        return _pairs(result)
    if isinstance(result, list) and result and isinstance(result[0], Score):
        return f"{sum(row.status == 'ok' for row in result)} of {len(result)} clips scored"
    if isinstance(result, list):
        kinds: dict[type, str] = {Prompt: "prompts", Clip: "clips", Latents: "encoded clips"}
        return f"{len(result)} {kinds.get(type(result[0]), 'rows') if result else 'rows'}"
    return Text(str(result))


def _pairs(rows: list[Pair]) -> RenderableType:
    from videogpa.stages.pair.funnel import DISTRIBUTIONS, distribution, funnel

    counts = funnel(rows)
    steps = Table(title="groups of candidates", title_justify="left", show_header=False)
    for label, count in {"all": counts.groups, **counts.left, "pairs": counts.pairs}.items():
        steps.add_row(label, str(count), BAR * round(BAR_WIDTH * count / max(counts.groups, counts.pairs, 1)))
    spreads = Table(title="distributions", title_justify="left", caption="quartiles and histogram", caption_justify="left")
    for heading in ("of", "min", "25 %", "median", "75 %", "max", "", "n"):
        spreads.add_column(heading, justify="left" if heading in ("of", "") else "right")
    for column, meaning in DISTRIBUTIONS.items():
        if values := distribution(rows, column):
            quartiles = [values[round(share * (len(values) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)]
            label = f"{column}: {meaning}"
            spreads.add_row(label, *(f"{value:.4g}" for value in quartiles), _histogram(values), str(len(values)))
    return Group(steps, spreads) if spreads.row_count else steps


def _histogram(values: list[float], bins: int = 10) -> str:
    """Draw sorted values as a line of blocks, between the least and the greatest of them."""
    low, width = values[0], (values[-1] - values[0]) or 1.0
    counts = Counter(min(int(bins * (value - low) / width), bins - 1) for value in values)
    most = max(counts.values())
    return "".join(HEIGHTS[math.ceil((len(HEIGHTS) - 1) * counts[bin] / most)] for bin in range(bins))


def _changes(critic: str, evaluation: Evaluation) -> Table:
    findings = evaluation.critics[critic]
    title = f"judged by {critic}" + (", which also taught" if findings.taught else "")
    table = Table(title=title, title_justify="left", caption="95 % intervals of the paired difference, over n prompts")
    for heading in ("measure", "base", "aligned", "change", "interval", "n"):
        table.add_column(heading, justify="left" if heading == "measure" else "right")
    for name in SHOWN:
        if name in findings.changes:
            row = findings.changes[name]
            arrow = {"lower": "↓", "higher": "↑", None: ""}[MEASURES[name].better]
            interval = f"{row.low:+.4f} to {row.high:+.4f}"
            table.add_row(name + arrow, f"{row.base:.4f}", f"{row.aligned:.4f}", f"{row.difference:+.4f}", interval, str(row.n))
    return table

"""What the terminal shows when a stage is done."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from videogpa.measures import MEASURES
from videogpa.records import Clip, Evaluation, Latents, Pair, Prompt, Score

SHOWN = ("flow", "motion", "loo_score", "consistency", "psnr", "epipolar")  # motion first: a gain counts at equal motion


def summarise(result: object) -> RenderableType:
    """Say in a line or a table what a stage returned."""
    if isinstance(result, Evaluation):
        return Group(*(_changes(critic, result) for critic in result.critics))
    if isinstance(result, list) and result and isinstance(result[0], Pair):
        return _funnel(result)
    if isinstance(result, list) and result and isinstance(result[0], Score):
        return f"{sum(row.status == 'ok' for row in result)} of {len(result)} clips scored"
    if isinstance(result, list):
        kinds: dict[type, str] = {Prompt: "prompts", Clip: "clips", Latents: "encoded clips"}
        return f"{len(result)} {kinds.get(type(result[0]), 'rows') if result else 'rows'}"
    return Text(str(result))


def _funnel(rows: list[Pair]) -> str:
    from videogpa.stages.pair.funnel import funnel

    counts = funnel(rows)
    return (
        f"{counts.groups} groups, {counts.scored} with two or more scored, {counts.moving} of them moving, "
        f"{counts.matched} with a winner that keeps the motion, {counts.pairs} pairs with a wide enough gap"
    )


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

"""What the terminal shows of what commands and stages return: a function for each."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from videogpa.measures import MEASURES, MOTIONS
from videogpa.text_files import plural, printable

if TYPE_CHECKING:
    from videogpa.cli.check_critic import Finding
    from videogpa.findings import Comparison, CriticFindings, Evaluation, JudgeFindings, Rounds
    from videogpa.pipeline import RunResult
    from videogpa.records import Judgement, Pair, Prompt, Score

SHOWN = (
    *MOTIONS,  # first: a gain counts at equal motion
    *("loo_error", "background_error", "subject_error", "broken_share", "failing", "error_3dcs", "psnr", "epipolar"),
    *("sharpness", "flicker", "saturation", "exposure", "diversity"),  # and with what a gain may have been paid for
)
BAR, BAR_WIDTH, HEIGHTS = "█", 30, " ▁▂▃▄▅▆▇█"


def tables(parts: Sequence[Table]) -> RenderableType:
    """Tables one below the other."""
    return Group(*parts)


def scored_files(rows: "list[Score]") -> RenderableType:
    """The table of `videogpa score`, best clip first."""
    from videogpa.report.tables import score_table

    return score_table(rows)


def judged_files(rows: "list[Judgement]") -> RenderableType:
    """The tables of `videogpa judge`, one for each judge."""
    from videogpa.report.judgements import judgement_table

    return judgement_table(rows)


def written_table(text: str, arguments: Mapping[str, Any]) -> str | None:
    """Where `videogpa table` wrote it, if it did."""
    return f"Written to {arguments['out']}." if arguments["out"] is not None else None


def viewed(row: "Score") -> RenderableType:
    """The table of `videogpa view`, of one line."""
    return scored_files([row])


def without_errors(rows: "Sequence[Score | Judgement]") -> bool:
    """Whether no clip ended in an unexpected error of the program."""
    return all(row.status != "error" for row in rows)


def compared_without_errors(result: "Comparison") -> bool:
    """Whether no clip of a comparison ended in an unexpected error."""
    found: list[CriticFindings | JudgeFindings] = [of.findings for of in result.methods.values()]
    found += [each for of in result.methods.values() for each in of.judges.values()]
    return not any("error" in {**each.base, **each.aligned} for each in found)


def evaluated_without_errors(result: "Evaluation") -> bool:
    """Whether no clip of an evaluation ended in an unexpected error."""
    found: list[CriticFindings | JudgeFindings] = [each for by in result.strengths().values() for each in by.values()]
    found += [each for by in result.judged().values() for each in by.values()]
    return not any("error" in {**findings.base, **findings.aligned} for findings in found)


def run_without_errors(result: "RunResult") -> bool:
    """Whether no clip of a run ended in an unexpected error."""
    return without_errors(result.scores) and evaluated_without_errors(result.evaluation)


def planned_prompts(rows: "list[Prompt]") -> RenderableType:
    """The table of `videogpa prompts`."""
    from videogpa.prompts.output import prompt_table

    return prompt_table(rows)


def critic_findings(findings: "list[Finding]") -> RenderableType:
    """The table of `videogpa check-critic`."""
    from videogpa.cli.check_critic import table

    return table(findings)


def all_right(findings: "list[Finding]") -> bool:
    """Whether a critic passes its test: no control fooled it, and it declined no consistent clip."""
    return all(finding.right for finding in findings)


def compared(result: "Comparison") -> RenderableType:
    """The table of `videogpa compare`: a line per method, geometry with motion beside it."""
    from videogpa.report.judged import judged_lines, judged_tables
    from videogpa.report.verdict import interval, verdict

    table = Table(title=_name(f"against {result.base}, by critic {result.critic}"), title_justify="left", show_lines=True)
    table.caption, table.caption_justify = "changes with 95 % intervals; errors: geometric mean, lower is better", "left"
    for heading in ("method", "error", "motion", "wins", "n"):
        table.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=heading != "method")
    for method, found in result.methods.items():
        outcome, geometry = found.findings.outcome, found.findings.changes.get("loo_error")
        motion = [f"{MEASURES[name].label} {interval(change)}" for name, change in (outcome.motion if outcome else {}).items()]
        table.add_row(
            _name(method),
            interval(found.geometric) if found.geometric else "",
            "\n".join(motion),
            f"{geometry.win_rate:.0%}" if geometry and geometry.win_rate is not None else "",
            f"{geometry.n if geometry else 0} of {found.clips}",
        )
    verdicts = [
        _name(f"{method}: {verdict(found.findings.outcome)}" if found.findings.outcome else f"{method}: not comparable")
        for method, found in result.methods.items()
    ]
    unmatched = [
        _name(f"{method}: {len(names)} without a partner: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}")
        for method, names in result.unmatched.items()
        if names
    ]
    judged = judged_lines({printable(method, line=True): found.judges for method, found in result.methods.items()})
    return Group(table, *judged_tables(judged), *verdicts, *unmatched)


def open_comparison(result: "Comparison", arguments: Mapping[str, Any]) -> str:
    """Where the results of `videogpa compare` are."""
    out = Path(arguments["out"])
    return f"Open {out / 'compare.html'} in a browser; the numbers are in {out / 'compare.json'}."


def open_scores(rows: "list[Score]", arguments: Mapping[str, Any]) -> str:
    """Where the results of `videogpa score` are."""
    out = Path(arguments["out"])
    return f"Open {out / 'report.html'} in a browser; the numbers are in {out / 'scores.jsonl'}."


def open_judgements(rows: "list[Judgement]", arguments: Mapping[str, Any]) -> str:
    """Where the results of `videogpa judge` are."""
    return f"The numbers are in {Path(arguments['out']) / 'judgements.csv'}."


def open_recording(row: "Score", arguments: Mapping[str, Any]) -> str | None:
    """How what `videogpa view` wrote is opened, if it did."""
    return f"Open it with: rerun --bind 127.0.0.1 {arguments['save']}" if arguments["save"] is not None else None


def open_report(result: "RunResult", arguments: Mapping[str, Any]) -> str:
    """Where the report of a run is."""
    return f"Open {result.report} in a browser."


def written_prompts(rows: "list[Prompt]", arguments: Mapping[str, Any]) -> str | None:
    """Where `videogpa prompts` wrote them, if it did."""
    return f"{plural(len(rows), 'prompt')} written to {arguments['out']}" if arguments["out"] is not None else None


def counted(what: str) -> Callable[[Sequence[Any]], RenderableType]:
    """Return what shows how many rows a stage returned."""
    return lambda rows: plural(len(rows), what)


def scores(rows: "list[Score]") -> RenderableType:
    """How many clips have a score."""
    return f"{sum(row.status == 'ok' for row in rows)} of {plural(len(rows), 'clip')} scored"


def path(path: Path) -> RenderableType:
    """Where the result of a stage is."""
    return _name(str(path))


def trained(adapter: Path) -> RenderableType:
    """Where the adapter is, and whether the training has learned beyond its pairs."""
    from videogpa.training.metrics import metrics_at
    from videogpa.training.verdict import verdict

    return Group(path(adapter), verdict(metrics_at(adapter.parent / "train" / "metrics.jsonl").rows()))


def evaluation(result: "Evaluation") -> RenderableType:
    """Base against aligned model: a table and a verdict per critic, at every strength of the adapter."""
    tables: list[RenderableType] = []
    for scale, critics in result.strengths().items():
        for critic, findings in critics.items():
            tables += _findings(critic + result.label(scale), findings, own=result.adapter is None)
    from videogpa.report.judged import judged_lines, judged_tables

    judged = judged_lines({f"aligned{result.label(scale)}": judges for scale, judges in result.judged().items()})
    return Group(*tables, *judged_tables(judged), *_best_of(result))


def _best_of(result: "Evaluation") -> Iterator[RenderableType]:
    """What choosing among a prompt's clips buys: a table per judging critic."""
    from videogpa.report.verdict import best_lines

    lines = best_lines(result)
    for critic in dict.fromkeys(line.critic for line in lines):
        judged = [line for line in lines if line.critic == critic]
        title = f"without training: chosen by {judged[0].by}, judged by {critic}"
        caption = "against the mean of all clips of the base, 95 % intervals"
        table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
        for heading in ("chosen from", "error", "motion", "n"):
            table.add_column(heading, justify="left" if heading == "chosen from" else "right", no_wrap=heading != "chosen from")
        for line in judged:
            table.add_row(line.chosen, line.error, "\n".join(line.motion), str(line.prompts))
        yield table


def rounds(result: "Rounds") -> RenderableType:
    """Every round against the base, and the last against the one before: geometry with motion beside it."""
    from videogpa.report.verdict import round_lines

    lines = round_lines(result)
    tables: list[RenderableType] = []
    for critic in dict.fromkeys(line.critic for line in lines):
        table = Table(title=f"round by round, critic {critic}", title_justify="left", show_lines=True)
        table.caption, table.caption_justify = "changes with 95 % intervals, paired on prompt and seed", "left"
        for heading in ("round", "error", "motion", "n"):
            table.add_column(heading, justify="left" if heading == "round" else "right", no_wrap=heading != "round")
        for line in lines:
            if line.critic == critic:
                table.add_row(line.name, line.error, "\n".join(line.motion), str(line.prompts))
        tables += [table, *(Text(f"{line.name}: {line.verdict}") for line in lines if line.critic == critic)]
    return Group(*tables)


def pairs(rows: "list[Pair]") -> RenderableType:
    """How many groups of candidates were lost where, and how the numbers of the pairs are distributed."""
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


def _findings(critic: str, findings: "CriticFindings", *, own: bool) -> Iterator[RenderableType]:
    yield _changes(critic, findings, own=own)
    if findings.outcome is not None:
        from videogpa.report.verdict import headline

        style = {"better": "green", "unclear": "", "too few prompts": ""}.get(findings.outcome.verdict, "red")
        yield Text(headline(critic, findings.outcome), style=style)


def _changes(critic: str, findings: "CriticFindings", *, own: bool) -> Table:
    """One line per measure, in 80 columns. Of another's adapter it is not known which critic chose its pairs."""
    chose = f" ({'also chose' if findings.chose_pairs else 'did not choose'} the training pairs)" if own else ""
    title = f"critic {critic}{chose}"
    shown = {name: findings.changes[name] for name in SHOWN if name in findings.changes}
    prompts = " or ".join(str(n) for n in sorted({change.n for change in shown.values()}))
    caption = f"95 % intervals of the paired difference, over {prompts or 'no'} prompts"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for heading in ("measure", "base", "aligned", "change", "interval", "verdict"):
        table.add_column(heading, justify="left" if heading in ("measure", "verdict") else "right", no_wrap=True)
    for name, row in shown.items():
        interval = f"{row.low:+.4f} to {row.high:+.4f}"
        change = f"{row.difference:+.4f}"
        table.add_row(MEASURES[name].heading, f"{row.base:.4f}", f"{row.aligned:.4f}", change, interval, row.verdict)
    return table


def _name(text: str) -> Text:
    """A line that holds names of files: neither they nor rich's markup in them change what the terminal shows beside."""
    return Text(printable(text, line=True))


STAGES: dict[str, Callable[[Any], RenderableType]] = {
    "prompts": counted("prompt"),
    "generate": counted("clip"),
    "score": scores,
    "pair": pairs,
    "encode": counted("encoded clip"),
    "train": trained,
    "evaluate": evaluation,
    "report": path,
    "rounds": rounds,
}
"""What is shown when a stage ends, of what it returns."""

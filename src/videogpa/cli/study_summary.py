"""What the terminal shows of what the commands of a study return."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from videogpa.measures import MEASURES
from videogpa.text_files import plural, printable

if TYPE_CHECKING:
    from videogpa.study.plan import Plan
    from videogpa.study.records import Key
    from videogpa.study.results import Duel, Findings, Interval, Results

MOST_SCORES = 12  # lines of the table of scores; results.json has all


def made(key: "Key") -> RenderableType:
    """The codes of the raters, and what each is shown."""
    trials = next(iter(key.raters.values()))
    items = [key.items[trial.item] for trial in trials]
    checks, repeats = sum(item.is_check for item in items), sum(trial.repeat for trial in trials)
    seconds = sum(item.seconds + 8 for item in items)
    lines = [
        f"study {key.study}: {', '.join(key.arms)}",
        f"each rater sees {plural(len(trials), 'pair')}, {repeats} of them for the second time and {checks} with a scrambled "
        f"clip; about {max(round(seconds / 60), 1)} minutes",
        f"codes of the raters: {', '.join(key.raters)}",
    ]
    return Text(printable("\n".join(lines)))


def give_to_raters(key: "Key", given: Mapping[str, Any]) -> str:
    """What to do with the files."""
    out = given["out"] or "study"
    return (
        f"give each rater {out}/page and a code (study.html#CODE), or run `videogpa study serve {out}`; keep {out}/key.json "
        "from them"
    )


def read(results: "Results") -> RenderableType:
    """Raters, and for each question who is preferred, agreement, and the scores beside the people."""
    parts: list[RenderableType] = [_raters(results)]
    for findings in results.findings.values():
        parts += [Text(), Text(findings.question, style="bold"), *_findings(findings)]
    return Group(*parts)


def written(results: "Results", given: Mapping[str, Any]) -> str | None:
    """Who was left out, for standard error."""
    out = [f"{rater.rater} is left out: {rater.left_out}" for rater in results.raters if rater.left_out]
    return "\n".join(out) or None


def _raters(results: "Results") -> Table:
    table = Table(title="raters", title_justify="left")
    for heading in ("code", "pairs", "scrambled right", "watched", "as before", "left", "counts"):
        table.add_column(heading, justify="left" if heading in ("code", "counts") else "right")
    for rater in results.raters:
        table.add_row(
            rater.rater,
            str(rater.pairs),
            f"{rater.right} of {rater.checks}",
            f"{rater.seen:.0%}",
            f"{rater.same} of {rater.repeated}",
            "" if rater.left is None else f"{rater.left:.0%}",
            "no" if rater.left_out else "yes",
        )
    return table


def _findings(findings: "Findings") -> Iterator[RenderableType]:
    table = Table(caption="win rate: of votes that are no ties; 95 % intervals over prompts and raters", caption_justify="left")
    for heading in ("arm", "against", "won", "tied", "lost", "win rate", "p", "prompts"):
        table.add_column(heading, justify="left" if heading in ("arm", "against") else "right")
    for duel in findings.duels:
        shares = [f"{share:.0%}" for share in (duel.won, duel.tied, duel.lost)]
        rate = _interval(duel.win_rate) if duel.win_rate else "too few"
        table.add_row(_name(duel.arm), _name(duel.against), *shares, rate, f"{duel.p_value:.2g}", str(duel.prompts))
    yield table
    for strength in findings.strengths:
        yield _name(f"{strength.arm}: {_interval(strength.win_rate)} against the base, from all comparisons (Davidson)")
    for duel in findings.duels:
        if duel.of_prompts is not None and duel.of_raters is not None:
            yield _name(f"{duel.arm} against {duel.against}, for the next study: videogpa study plan {_planned_from(duel)}")
    yield Text(_agreement(findings))
    if findings.scores:
        yield _scores(findings)


def _planned_from(duel: "Duel") -> str:
    """The flags of `study plan`: estimates that are below 0 by chance are 0, and their sum stays below 1."""
    alike = [max(value or 0.0, 0.0) for value in (duel.of_prompts, duel.of_raters)]
    shrunk = [value * min(1.0, 0.99 / max(sum(alike), 0.99)) for value in alike]
    return f"--ties {duel.tied:.2f} --of-prompts {shrunk[0]:.2f} --of-raters {shrunk[1]:.3f}"


def _agreement(findings: "Findings") -> str:
    alpha = "unknown" if findings.alpha is None else f"{findings.alpha:.2f}"
    people = "unknown" if findings.people is None else f"{findings.people:.0%}"
    return f"Krippendorff's alpha {alpha}; two raters who see a difference prefer the same clip in {people} of the cases"


def _scores(findings: "Findings") -> Table:
    caption = "how often a score prefers the clip that a rater prefers, of votes that are no ties"
    table = Table(title="scores beside people", title_justify="left", caption=caption, caption_justify="left")
    for heading in ("critic", "measure", "agrees", "votes", "prompts"):
        table.add_column(heading, justify="left" if heading in ("critic", "measure") else "right")
    for each in findings.scores[:MOST_SCORES]:
        row = (each.critic, MEASURES[each.measure].heading, _interval(each.accuracy), str(each.votes), str(each.prompts))
        table.add_row(*row)
    if len(findings.scores) > MOST_SCORES:
        table.add_row("", f"{len(findings.scores) - MOST_SCORES} more in results.json", "", "", "")
    return table


def _interval(of: "Interval") -> str:
    return f"{of.value:.0%} [{of.low:.0%}, {of.high:.0%}]"


def _name(text: str) -> Text:
    return Text(printable(text, line=True))


def planned(plan: "Plan") -> RenderableType:
    """How many prompts each number of raters needs, and what the given study finds."""
    title = f"to find a win rate of {plan.win_rate:.0%} with {plan.power:.0%} power"
    caption = f"ties {plan.votes.ties:.0%}; correlation of votes on one prompt {plan.votes.of_prompts:g}, of one rater "
    table = Table(title=title, title_justify="left", caption=f"{caption}{plan.votes.of_raters:g}", caption_justify="left")
    for heading in ("raters", "prompts", "votes"):
        table.add_column(heading, justify="right")
    for raters, prompts in plan.prompts.items():
        table.add_row(str(raters), *(("no number suffices", "") if prompts is None else (str(prompts), str(prompts * raters))))
    finds = f"win rates from {plan.finds:.0%} on" if plan.finds is not None else "no win rate"
    return Group(
        table,
        Text(
            f"{plural(plan.pairs, 'prompt')} and {plural(plan.raters, 'rater')}: {plan.has_power:.0%} power for a win rate of "
            f"{plan.win_rate:.0%}; with {plan.power:.0%} power they find {finds}"
        ),
    )

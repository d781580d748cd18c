"""Tables of a comparison for a paper or a README: Markdown, LaTeX and CSV."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from videogpa.findings import Change, Comparison, CriticFindings, Evaluation, changes_by_name
from videogpa.measures import MEASURES
from videogpa.report.judged import share_of_wins
from videogpa.report.tables import text_cell

Format = Literal["markdown", "latex", "csv"]

OF_THE_PAPER = ("psnr", "ssim", "lpips", "mvcs", "error_3dcs", "epipolar", "flow", "vq", "mq", "ta", "ovl")
"""The columns of the tables of arXiv 2601.23286, and motion beside them, without which they say little. The last four are those
of the judge videoreward, left out where it was not asked."""

DIGITS = 3  # of the base's mean; the other means of its column have as many places


@dataclass(frozen=True)
class Line:
    """A method, as one critic sees it: its changes from the base by measure."""

    critic: str
    method: str
    base: str
    changes: Mapping[str, Change]


def lines_of(found: Evaluation | Comparison) -> list[Line]:
    """Return a line per critic and method: aligned at each strength and the best of N, or each method of a comparison."""
    if isinstance(found, Comparison):
        return [
            Line(found.critic, name, found.base, {**of.findings.changes, **changes_by_name(of.judges)})
            for name, of in found.methods.items()
        ]
    findings: list[tuple[str, Mapping[str, CriticFindings], Mapping[str, Change]]] = [
        (f"aligned{found.label(scale)}", critics, changes_by_name(found.judged()[scale]))
        for scale, critics in found.strengths().items()
    ]
    findings += [(f"{best.model}, best of {best.candidates} by {best.chosen_by}", best.critics, {}) for best in found.best_of]
    return [
        Line(critic, name, "base", {**of.changes, **judged})
        for name, critics, judged in findings
        for critic, of in critics.items()
    ]


def write_table(lines: Sequence[Line], measures: Sequence[str], format: Format) -> str:
    """Return a table of methods by measures, one critic after the other.

    Markdown and LaTeX give means, and behind each the change from the base in per cent with its 95 % interval over prompts; of
    judges' numbers the share of clips on which the method wins against the base, ties counting half, with its interval. The
    base's means are over the clips that it shares with the first method. CSV has a row for each method and measure.

    Args:
        lines: The methods.
        measures: The columns, by name; those that no method has are left out.
        format: How it is written.
    """
    known = [name for name in measures if any(name in line.changes for line in lines)]
    if format == "csv":
        return _csv(lines, known)
    lines = [line for line in lines if any(name in line.changes for name in known)]
    return "\n".join(_FORMATS[format](*part) for part in _by_critic(lines, known))


def _by_critic(lines: Sequence[Line], measures: Sequence[str]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return each critic with the headings and the rows of its table."""
    tables = []
    for critic in dict.fromkeys(line.critic for line in lines):
        of_critic = [line for line in lines if line.critic == critic]
        known = [name for name in measures if any(name in line.changes for line in of_critic)]
        places = {name: _places(next(line.changes[name].base for line in of_critic if name in line.changes)) for name in known}
        base = [f"{change.base:.{places[name]}f}" if (change := of_critic[0].changes.get(name)) else "" for name in known]
        rows = [[of_critic[0].base, "", *base]]
        for line in of_critic:
            counts = {line.changes[name].n for name in known if name in line.changes}
            n = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
            rows.append([line.method, n, *(_cell(line.changes.get(name), places[name]) for name in known)])
        tables.append((critic, ["method", "prompts", *(MEASURES[name].heading for name in known)], rows))
    return tables


def _places(mean: float) -> int:
    """Return how many decimal places show so many digits of a mean."""
    return DIGITS if mean == 0 else max(DIGITS - 1 - math.floor(math.log10(abs(mean))), 0)


def _cell(change: Change | None, places: int) -> str:
    if change is None:
        return ""
    mean = f"{change.aligned:.{places}f}"
    if change.wins is not None:  # of a reward, whose zero means nothing, a share of it says nothing
        mean += f" (wins {share_of_wins(change.wins)})"
    elif change.base != 0:
        share, low, high = (100 * part / abs(change.base) for part in (change.difference, change.low, change.high))
        mean += f" ({share:+.1f} % [{low:+.1f}, {high:+.1f}])"
    return mean.replace("-", "−")


def _markdown(critic: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    ruler = "|---|" + "---:|" * (len(headings) - 1)
    return "\n".join([f"Critic {critic}:", "", line(headings), ruler, *map(line, rows)]) + "\n"


_LATEX = {
    **{"↓": r"$\downarrow$", "↑": r"$\uparrow$", "−": "$-$", "±": r"$\pm$"},
    **{character: "\\" + character for character in "%&_#${}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
}


def _latex(critic: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(character, character) for character in cell) for cell in cells) + r" \\"

    columns = "l" + "r" * (len(headings) - 1)
    body = [line(headings), r"\midrule", *map(line, rows)]
    top = [f"% critic {critic}; needs \\usepackage{{booktabs}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*top, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


_FORMATS = {"markdown": _markdown, "latex": _latex}


def _csv(lines: Sequence[Line], measures: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = ("base", "aligned", "difference", "low", "high", "win_rate", "n", "clips", "verdict")
    of_wins = ("wins", "ties", "losses", "share", "low", "high")
    names = ("wins", "ties", "losses", "win_share", "win_low", "win_high")
    writer.writerow(["critic", "method", "against", "measure", "base_mean", "mean", *numbers[2:], *names])
    for line in lines:
        for name in measures:
            if name in line.changes:
                change = line.changes[name]
                cells = ["" if (value := getattr(change, part)) is None else value for part in numbers]
                cells += [getattr(change.wins, part, "") for part in of_wins]
                writer.writerow([text_cell(line.critic), text_cell(line.method), text_cell(line.base), name, *cells])
    return text.getvalue()

"""Does the weight-free critic tell real clips from generated ones, and what does it cost?

    python benchmarks/separation.py --real FOLDER --generated FOLDER [FOLDER ...] [--out benchmarks/results/sfm.md]

Every clip is scored twice (`--runs`), in processes of their own; the numbers must be the same to the last bit. A clip that the
critic cannot judge has no score: it is counted, and takes no part in the AUC (the chance that a generated clip scores worse).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from machine import processor
from videogpa.maths.stats import auc

MEASURES = ("loo_error", "error_3dcs", "epipolar")  # all: lower is better
ONE = """
import json, resource, sys, videogpa
row = videogpa.score(sys.argv[1], critic="sfm").model_dump()
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({**row, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss / 2**20}))
"""


def main() -> None:
    """Print the tables, and write them to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--generated", type=Path, nargs="+", required=True)
    parser.add_argument("--runs", type=int, default=2, help="of every clip; with one, nothing is said of repetition")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    groups = {folder.name: score_folder(folder, arguments.runs) for folder in (arguments.real, *arguments.generated)}
    report = tables(groups, arguments.real.name)
    print("\n" + report)
    if arguments.out:
        arguments.out.write_text(report)


def score_folder(folder: Path, runs: int) -> list[dict[str, Any]]:
    """Return a row for every video of the folder."""
    rows = []
    for path in sorted(folder.glob("*.mp4")):
        found = [json.loads(subprocess.check_output([sys.executable, "-c", ONE, str(path)])) for _ in range(runs)]
        taken = {key: min(row.pop(key) for row in found) for key in ("seconds", "cpu", "memory")}
        same = "-" if runs == 1 else "yes" if all(row == found[0] for row in found) else "NO"
        rows.append({**found[0], **taken, "clip": path.stem, "same": same})
        print(line(folder.name, rows[-1]), flush=True)
    return rows


def line(group: str, row: dict[str, Any]) -> str:
    """Return the table's line of a clip."""
    numbers = (row["loo_error"], row["loo_coverage"], row["error_3dcs"], row["epipolar"], row["motion"], row["focal_widths"])
    cells = ["" if value is None else f"{value:.3f}" for value in numbers]
    points = "" if row["points"] is None else str(row["points"])
    cost = f"{row['seconds']:.1f} | {row['cpu']:.1f} | {row['memory']:.1f}"
    assumed = " (assumed)" if row["focal_assumed"] else ""
    return f"| {group} | {row['clip']} | {row['status']} | {' | '.join(cells)}{assumed} | {points} | {cost} | {row['same']} |"


def tables(groups: dict[str, list[dict[str, Any]]], real: str) -> str:
    """Return the report in Markdown."""
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    lines = [
        "# The weight-free critic on real and generated clips",
        "",
        f"Commit {commit}; {processor()}; `python benchmarks/separation.py --real F --generated F F`.",
        "10 judged frames, LPIPS-alex. Seconds: decoding and all scores; CPU seconds and memory of the whole process, with",
        "its start; the smallest of all runs. `same`: all gave the same numbers to the last bit.",
        "",
        "| source | clip | status | loo_error | coverage | 3DCS | epipolar | motion | focal | points | s | CPU | GiB | same |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(line(group, row) for group, rows in groups.items() for row in rows),
        "",
        f"| AUC, {real} below | " + " | ".join(MEASURES) + " | scored |",
        "|---|" + "---|" * (len(MEASURES) + 1),
    ]
    for group in groups:
        if group != real:
            scored = {name: ok(groups[name]) for name in (real, group)}
            cells = [f"{auc(values(scored[real], measure), values(scored[group], measure)):.2f}" for measure in MEASURES]
            count = " and ".join(f"{len(scored[name])} of {len(groups[name])}" for name in (real, group))
            lines.append(f"| {group} | {' | '.join(cells)} | {count} |")
    return "\n".join([*lines, ""])


def ok(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that may be ranked."""
    return [row for row in rows if row["status"] == "ok"]


def values(rows: list[dict[str, Any]], measure: str) -> torch.Tensor:
    """Return the rows' values of a measure."""
    return torch.tensor([row[measure] for row in rows])


if __name__ == "__main__":
    main()

"""The demo has made its model better, by about as much as its page says: the table of docs/science/demo.md, line by line."""

import json
import re
import sys
from pathlib import Path

ROW = re.compile(r"^\| `(loo_error|adherence|flow)` \| (\S+) \| (\S+) \|", re.MULTILINE)
TOLERANCE = 0.1  # another processor's last bits choose other pairs; the interval over scenes is far wider


def main(folder: Path, page: Path) -> None:
    """Compare evaluation.json with the page."""
    evaluation = json.loads((folder / "evaluation.json").read_text())["critics"]["oracle"]
    changes, outcome = evaluation["changes"], evaluation["outcome"]
    told = {name: (float(base), float(aligned)) for name, base, aligned in ROW.findall(page.read_text(encoding="utf-8"))}
    assert set(told) == {"loo_error", "adherence", "flow"}, f"{page} has lines for {sorted(told)}"
    for name, numbers in told.items():
        found = (changes[name]["base"], changes[name]["aligned"])
        print(f"{name}: {found[0]:.4f} -> {found[1]:.4f}; the page says {numbers[0]} -> {numbers[1]}")
        assert all(abs(a - b) <= TOLERANCE * b for a, b in zip(found, numbers, strict=True)), f"{name} is not what {page} says"
    assert changes["loo_error"]["high"] < 0, "the interval of the change of loo_error is not clear of 0"
    assert outcome["verdict"] == "better", outcome
    for name in ("adherence", "flow"):
        assert changes[name]["aligned"] >= 0.95 * changes[name]["base"], f"{name} fell by more than 5 %"
    assert (folder / "report.html").stat().st_size > 100_000


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

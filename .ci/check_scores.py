"""Of two clips that were scored by the weight-free critic, the consistent one has a small error and noise is declined."""

import json
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Check the rows and the report."""
    rows = {Path(row["clip"]).stem: row for row in map(json.loads, (folder / "scores.jsonl").read_text().splitlines())}
    assert set(rows) == {"consistent", "noise"}, rows
    assert rows["consistent"]["status"] == "ok", rows["consistent"]
    assert 0 < rows["consistent"]["loo_error"] < 0.7 * rows["consistent"]["single_image"], rows["consistent"]
    assert rows["noise"]["status"] != "ok", rows["noise"]
    assert rows["noise"]["reason"], rows["noise"]
    assert (folder / "report.html").stat().st_size > 10_000
    print(f"scored: loo_error {rows['consistent']['loo_error']:.4f}; noise: {rows['noise']['reason']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

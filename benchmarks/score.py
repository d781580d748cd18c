"""Tell where the time of a clip goes when `sfm` scores it, what a batch takes with one and with two workers, and what memory.

    python benchmarks/score.py CLIP... [--repeats 3] [--batch 12] [--out benchmarks/results/score.md]

- Parts: the clips in turn, in one process that computes on one thread, with a clock around the functions of `PARTS`. Seconds
  are those that the thread works, so that the sum is that of one core; a part's time leaves out that of parts within it. The
  least of several runs, the first of which is left out.
- A clip: seconds that pass and seconds that the process works, the least of several runs in a process that uses all cores.
- A batch: `videogpa score` from its start to its end, on copies of the clips, with one worker and with two in turn; then the
  same command again, which finds nothing left to do. Peak memory is the most that all of its processes held at one time.

On a machine with other work seconds that pass say little: compare seconds of work, and ratios within a turn.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import torch

from machine import apart, processor
from videogpa.scoring.scorer import Scorer
from videogpa.storage.provenance import git_commit

PARTS = {
    "decoding": ("scoring.scorer:read_clip",),
    "optical flow": ("scoring.scorer:mean_flow",),
    "frames for the critic": ("critics.sfm:_prepare",),
    "features": ("critics.sfm:detect",),
    "matching": ("critics.classical.features:match",),
    "two-view geometry": ("critics.sfm:match_all",),
    "epipolar error, homographies": (
        "critics.sfm:epipolar_error",
        "critics.classical.homography:fit_homographies",
    ),
    "mapping": ("critics.sfm:find_cameras",),
    "depth: matching cost": ("critics.classical.sweep:matching_cost",),
    "depth: smoothing": ("critics.classical.sweep:smooth",),
    "depth: cross-checks": ("critics.classical.fusion:confirmations", "critics.classical.fusion:seen_by_others"),
    "depth: the rest": ("critics.sfm:estimate_depth",),
    "parallax": ("critics.sfm:near_far_parallax",),
    "point cloud": ("scoring.scores:cloud_of",),
    "exposure, tolerance": ("scoring.scores:calibrate",),
    "paper's render": ("scoring.reprojection:render_splat",),
    "leave-one-out render": ("scoring.reprojection:render_leave_one_out",),
    "LPIPS": ("scoring.lpips:Lpips.forward",),
    "SSIM": ("maths.images:ssim",),
    "MVCS": ("scoring.scores:depth_disagreements",),
    "blur, repetition": ("scoring.scores:frame_numbers",),
}
"""Part -> the functions that do it, where their callers look them up. Those within another part are not counted there."""

REST = "the rest"


class Clock:
    """Adds up the seconds that a thread works in each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[float] = []

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with the clock around it."""

        @wraps(function)
        def clocked(*arguments: Any, **named: Any) -> Any:
            start = time.process_time()
            self._open.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                spent = time.process_time() - start
                self.seconds[part] += spent - self._open.pop()
                if self._open:
                    self._open[-1] += spent

        return clocked

    def install(self) -> None:
        """Put the clock around the functions of all parts."""
        for part, places in PARTS.items():
            for place in places:
                module, _, path = place.partition(":")
                owner: Any = import_module(f"videogpa.{module}")
                *outer, name = path.split(".")
                for each in outer:
                    owner = getattr(owner, each)
                setattr(owner, name, self.around(part, getattr(owner, name)))


def main() -> None:
    """Print the tables, and write them to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=12, help="clips of a batch; 0 leaves batches out")
    parser.add_argument("--note", default="", help="what else the reader must know, such as other work on the machine")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    clips = [clip.resolve() for clip in arguments.clips]
    lines = [
        "# What a score costs",
        "",
        f"`python {shlex.join(sys.argv)}`, at commit {git_commit()}; {processor()}; torch {torch.__version__}.",
        f"Critic `sfm`, 10 judged frames, LPIPS-alex; the least of {arguments.repeats} runs. {arguments.note}".rstrip(),
        "",
        *clip_table([apart(cost_of_clip, clip, arguments.repeats) for clip in clips], clips),
        "",
        *parts_table(apart(cost_of_parts, clips, arguments.repeats)),
    ]
    if arguments.batch:
        lines += ["", *batch_table(clips, arguments.batch, arguments.repeats)]
    report = "\n".join([*lines, ""])
    print(report)
    if arguments.out:
        arguments.out.write_text(report, encoding="utf-8")


def cost_of_clip(clip: Path, repeats: int) -> tuple[float, float, float]:
    """Return the seconds that pass and that the process works, and its peak memory in MB."""
    passed, worked = [], []
    with Scorer() as scorer:
        for _ in range(repeats + 1):
            start, work = time.perf_counter(), time.process_time()
            scorer.score(clip)
            passed.append(time.perf_counter() - start)
            worked.append(time.process_time() - work)
    return min(passed[1:]), min(worked[1:]), peak_of_process()


def peak_of_process() -> float:
    """Return the peak memory of this process, in MB: of Linux's own account, which a process does not inherit."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


def clip_table(costs: Sequence[tuple[float, float, float]], clips: Sequence[Path]) -> list[str]:
    """Return what each clip costs."""
    names = ["/".join(clip.parts[-2:]) for clip in clips]
    return [
        "| clip | seconds that pass | seconds of work | peak, MB |",
        "|---|---|---|---|",
        *(f"| {name} | {a:.2f} | {b:.2f} | {c:.0f} |" for name, (a, b, c) in zip(names, costs, strict=True)),
    ]


def cost_of_parts(clips: Sequence[Path], repeats: int) -> dict[str, float]:
    """Return the seconds of work of each part on one thread, the mean of the clips; each part's least of several runs."""
    torch.set_num_threads(1)
    parallel: Any = import_module("videogpa.parallel")
    parallel._MOST_THREADS = 1
    clock = Clock()
    clock.install()
    found: dict[str, float] = defaultdict(float)
    with Scorer() as scorer:
        for clip in clips:
            runs = []
            for _ in range(repeats + 1):
                clock.seconds.clear()
                clock.around(REST, scorer.score)(clip)
                runs.append(dict(clock.seconds))
            for part in (*PARTS, REST):
                found[part] += min(run.get(part, 0.0) for run in runs[1:]) / len(clips)
    return dict(found)


def parts_table(seconds: dict[str, float]) -> list[str]:
    """Return the table of the parts."""
    total = sum(seconds.values())
    return [
        "| part | seconds of work, one thread | share |",
        "|---|---|---|",
        *(f"| {part} | {value:.2f} | {value / total:.0%} |" for part, value in seconds.items()),
        f"| together | {total:.2f} | |",
    ]


def batch_table(clips: Sequence[Path], size: int, repeats: int) -> list[str]:
    """Return what batches of so many clips take with one worker and with two, and with nothing left to do."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "clips"
        source.mkdir()
        for number in range(size):
            shutil.copy(clips[number % len(clips)], source / f"{number:03d}{clips[number % len(clips)].suffix}")
        for turn in range(repeats):
            out = {workers: Path(folder) / f"{turn}-{workers}" for workers in (1, 2)}
            rows.append([command(source, out[workers], workers) for workers in (1, 2, 1, 2)])
    one, two, idle, idle_two = (min(costs) for costs in zip(*rows, strict=True))
    return [
        f"Batches of {size} clips; `videogpa score` from its start to its end, the least of {repeats} turns.",
        "",
        "| | seconds that pass | clips a minute | peak of all processes, MB |",
        "|---|---|---|---|",
        f"| one worker | {one[0]:.1f} | {60 * size / one[0]:.1f} | {one[1]:.0f} |",
        f"| two workers | {two[0]:.1f} | {60 * size / two[0]:.1f} | {two[1]:.0f} |",
        f"| nothing left to do | {idle[0]:.2f} | | {idle[1]:.0f} |",
        f"| nothing left to do, `--workers 2` | {idle_two[0]:.2f} | | {idle_two[1]:.0f} |",
        "",
        f"Two workers do {max(one[0] / two[0] for one, two, *_ in rows):.2f} times as much as one (the best turn).",
    ]


def command(source: Path, out: Path, workers: int) -> tuple[float, float]:
    """Return the seconds that a batch takes, and the most memory, in MB, that its processes held at one time."""
    line = [sys.executable, "-m", "videogpa.cli", "score", str(source), "--out", str(out), "--workers", str(workers)]
    start, peak = time.perf_counter(), 0.0
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None:
            peak = max(peak, memory(running.pid))
            time.sleep(0.05)
    seconds = time.perf_counter() - start
    if running.returncode:
        raise SystemExit(f"{shlex.join(line)} ended with status {running.returncode}")
    return seconds, peak


def memory(process: int) -> float:
    """Return the memory of a process and its descendants, in MB; what they share is divided among them."""
    total = 0.0
    try:
        family = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for each in family:
        try:
            total += each.memory_full_info().pss / 1e6
        except psutil.Error:
            continue
    return total


if __name__ == "__main__":
    main()

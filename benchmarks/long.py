"""Score long clips in windows: time and memory against length, how true the joined camera path is, and the same in one pass.

    python benchmarks/long.py --out benchmarks/results/long.md

A scene of the miniature world, filmed in ever more frames, and the oracle with the errors of an estimate: every depth off by
2 %, a twentieth of the pixels at three times their depth, every camera off by 4 mm, and every window in a world of its own.
Every cell is measured in a process of its own; seconds are those that it works (of all its threads), which other work on the
machine disturbs less than those that pass; memory is what it grew by.
"""

import argparse
import resource
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from machine import apart, clocked, processor
from videogpa.config import ScoreConfig
from videogpa.critics.oracle import OracleCritic
from videogpa.maths.alignment import umeyama
from videogpa.maths.cameras import camera_centers
from videogpa.records import Prompt, Scene
from videogpa.scoring.frames import count_frames
from videogpa.scoring.long_clips import reconstruct_in_windows
from videogpa.scoring.scorer import Scorer
from videogpa.storage.provenance import git_commit
from videogpa.video import write_video
from videogpa.world.failures import Failure, render_failing
from videogpa.world.paths import camera_path

SEED, CAMERA = 3, "orbit-left"
ERRORS: dict[str, Any] = {"depth_noise": 0.02, "camera_noise": 0.004, "outlier_fraction": 0.05, "random_similarity": True}
AT_ONCE = 64  # frames that are also scored in one pass
DRIFT = Failure(kind="drift", strength=1.0, seed=1)


@dataclass(frozen=True)
class Cell:
    """A clip and how it is scored: one pass over all frames if `window` is as long as the clip."""

    frames: int
    window: int
    height: int
    drift: bool = False

    @property
    def scene(self) -> Scene:
        """What is filmed, half as wide again as high."""
        return Scene(seed=SEED, camera=CAMERA, frames=self.frames, height=self.height, width=self.height * 3 // 2)


def main() -> None:
    """Print the table, and write it to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 125, 250, 500])
    parser.add_argument("--window", type=int, default=32)
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    asked = parser.parse_args()
    windows = {frames: [frames, asked.window] if frames <= AT_ONCE else [asked.window] for frames in asked.frames}
    cells = [Cell(frames, window, asked.height) for frames in asked.frames for window in windows[frames]]
    cells.append(Cell(max(asked.frames), asked.window, asked.height, drift=True))
    lines = [
        "| frames | window | clip | s | s / frame | memory MiB | path error, share of its length | worst join "
        "| error_3dcs | loo_error | explained | flow |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        for number, cell in enumerate(cells):
            film = Path(folder) / f"{number}.mp4"
            apart(make_film, film, cell)
            lines.append(apart(measure, film, cell))
            print(lines[-1], flush=True)
    if asked.out:
        command = shlex.join(["python", "benchmarks/long.py", *sys.argv[1:]])
        about = f"{processor()}, {torch.get_num_threads()} threads; commit {git_commit()}"
        size = f"Frames of {asked.height} x {cells[0].scene.width}; seconds that the process works."
        asked.out.write_text(f"# Long clips\n\n`{command}`, {about}.\n{size}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def make_film(path: Path, cell: Cell) -> None:
    """Write the clip."""
    write_video(path, render_failing(cell.scene, DRIFT if cell.drift else None), fps=24)


def measure(path: Path, cell: Cell) -> str:
    """Return the cell's line of the table."""
    at_once = cell.window >= cell.frames
    config = ScoreConfig(critic="oracle", frames="all", window=cell.window, options={} if at_once else ERRORS)
    prompt = Prompt(prompt="long", text="", scene=cell.scene)
    scorer = Scorer.from_config(config)
    scorer.score_clip(
        torch.rand(4, 3, cell.height, cell.scene.width), clip="warm", prompt=prompt
    )  # what all clips need is loaded
    before = _peak_mib()
    scored, seconds = clocked(lambda: scorer.score_clip(path, clip="film", prompt=prompt), "cpu")
    row, grown = scored.score, _peak_mib() - before
    truth = [] if at_once else [f"{_path_error(path, prompt, config):.2%}", f"{row.join_error or 0:.2%}"]
    scores = [f"{value or 0:.4f}" for value in (row.error_3dcs, row.loo_error, row.explained, row.flow)]
    about = [str(cell.frames), str(cell.window), "drifts" if cell.drift else "stands still"]
    cost = [f"{seconds:.1f}", f"{seconds / cell.frames:.3f}", f"{grown:.0f}"]
    return "| " + " | ".join([*about, *cost, *(truth or ["-", "-"]), *scores]) + " |"


def _path_error(path: Path, prompt: Prompt, config: ScoreConfig) -> float:
    """The root mean squared distance of the joined cameras from the true ones, aligned, as a share of the path's length."""
    total = count_frames(path, 2)
    with tempfile.TemporaryDirectory() as folder:
        found = reconstruct_in_windows(
            path,
            range(total),
            OracleCritic(**ERRORS),
            Path(folder),
            window=config.window,
            overlap=config.overlap,
            scene=prompt.scene,
        )
        centers = camera_centers(found.longest().store.camera_from_world)
    truth = camera_centers(camera_path(CAMERA, total))
    errors = (umeyama(centers, truth)(centers) - truth).norm(dim=1)
    return float(errors.square().mean().sqrt() / truth.diff(dim=0).norm(dim=1).sum())


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

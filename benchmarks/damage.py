"""Does the leave-one-out score grow with the damage done to a real clip, and only with that?

    python benchmarks/damage.py --clips FOLDER [--take 3] [--out benchmarks/results/damage.md]

Takes the first clips of a folder of real videos of static scenes, 25 frames each, and damages them at four levels. Severity 0
is the clip as it is; what a level means is said by each damage below. Frames have 432 pixels on the short side when damaged.
Two further treatments change only how the picture was taken or stored, and should move the score little.

A damaged clip that the critic cannot reconstruct has no score. It is missing from the correlation, and counted.
"""

import argparse
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

import videogpa
from machine import processor
from videogpa.maths.stats import spearman
from videogpa.video import read_frames

FRAMES, SHORT_SIDE = 25, 432  # what the critic reads, and looks for features in
LEVELS = 4
Clip = np.ndarray  # [frames height width 3], RGB in [0, 1], float32


def wobble(clip: Clip, level: int) -> Clip:
    """Let three soft spots sway on small circles, each at its own pace: 1/4, 1/2, 1, 2 per cent of the width."""
    frames, height, width, _ = clip.shape
    amplitude = 0.00125 * 2**level * width
    spots = [(0.3, 0.35, 2.0), (0.55, 0.65, 3.0), (0.75, 0.4, 2.5)]  # x and y in widths and heights, turns per clip

    def field(time: float) -> np.ndarray:
        total = np.zeros((height, width, 2), np.float32)
        for x, y, turns in spots:
            angle = 2 * math.pi * turns * time
            bump = _bump(height, width, x, y, 0.12)[:, :, None]
            total += amplitude * bump * np.array([math.cos(angle), math.sin(angle)], np.float32)
        return total

    return np.stack([_displace(frame, field(index / (frames - 1))) for index, frame in enumerate(clip)])


def slide(clip: Clip, level: int) -> Clip:
    """Let a soft-edged region in the middle drift sideways at a steady pace: by 1, 2, 4, 8 per cent of the width in all."""
    frames, height, width, _ = clip.shape
    field = np.zeros((height, width, 2), np.float32)
    field[:, :, 0] = 0.005 * 2**level * width * _window(height, width)
    return np.stack([_displace(frame, field * (index / (frames - 1))) for index, frame in enumerate(clip)])


def zoom_jitter(clip: Clip, level: int) -> Clip:
    """Zoom every frame about its middle at random, with a standard deviation of 1/2, 1, 2, 4 per cent."""
    height, width = clip.shape[1:3]
    zooms = 1 + 0.0025 * 2**level * np.random.default_rng(0).standard_normal(len(clip))
    v, u = np.mgrid[:height, :width].astype(np.float32)
    outwards = np.stack([u - (width - 1) / 2, v - (height - 1) / 2], axis=2)
    return np.stack([_displace(frame, outwards * np.float32(1 / zoom - 1)) for frame, zoom in zip(clip, zooms, strict=True)])


def cross_fade(clip: Clip, level: int) -> Clip:
    """Fade a soft-edged region into the first frame's mirror image there: to 1/8, 1/4, 1/2, 1 of it by the end."""
    mask = _window(*clip.shape[1:3])[:, :, None]
    share = 2.0 ** (level - LEVELS) * np.linspace(0, 1, len(clip))
    return np.stack([frame + np.float32(a) * mask * (clip[0, :, ::-1] - frame) for frame, a in zip(clip, share, strict=True)])


def jpeg(clip: Clip, quality: int) -> Clip:
    """Store and read every frame as JPEG."""
    stored = [
        cv2.imencode(".jpg", np.rint(frame * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for frame in clip
    ]
    read = [np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32) for data in stored]
    return np.stack(read) / 255


def exposure_drift(clip: Clip, depth: float) -> Clip:
    """Darken steadily, to `1 - depth` of the brightness in the last frame."""
    gains = np.linspace(1, 1 - depth, len(clip), dtype=np.float32)
    return clip * gains[:, None, None, None]


DAMAGES: dict[str, Callable[[Clip, int], Clip]] = {
    "local wobble": wobble,
    "sliding region": slide,
    "zoom jitter": zoom_jitter,
    "cross-fade of a region": cross_fade,
}
TREATMENTS: dict[str, Callable[[Clip], Clip]] = {
    "JPEG quality 30": lambda clip: jpeg(clip, 30),
    "exposure drift, -20 %": lambda clip: exposure_drift(clip, 0.2),
}


def main() -> None:
    """Print the tables, and write them to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--take", type=int, default=3, help="how many clips, in the order of their names")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    paths = sorted(arguments.clips.glob("*.mp4"))[: arguments.take]
    rows, series, moved, missing = [], [], [], 0
    for path in paths:
        clip = load(path)
        clean = loo_error(clip)
        if clean is None:
            raise SystemExit(f"{path}: the clip itself cannot be scored; take real clips of static scenes with a moving camera")
        for name, damage in DAMAGES.items():
            scores = [clean, *(loo_error(damage(clip, level)) for level in range(1, LEVELS + 1))]
            correlation = severity_correlation(scores)
            series.append(correlation)
            missing += scores.count(None)
            rows.append(f"| {path.stem} | {name} | {' | '.join(map(number, scores))} | {number(correlation)} |")
            print(rows[-1], flush=True)
        for name, treat in TREATMENTS.items():
            treated = loo_error(treat(clip))
            moved.append(f"| {path.stem} | {name} | {number(clean)} | {number(treated)} | {change(clean, treated)} |")
            print(moved[-1], flush=True)
    report = tables(arguments, rows, series, moved, missing)
    print("\n" + report)
    if arguments.out:
        arguments.out.write_text(report)


def load(path: Path) -> Clip:
    """Return 25 frames of a video, 432 pixels on the short side."""
    frames = read_frames(path, FRAMES).permute(0, 2, 3, 1).numpy()
    scale = SHORT_SIDE / min(frames.shape[1:3])
    size = (round(frames.shape[2] * scale), round(frames.shape[1] * scale))
    return np.stack([cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA) for frame in frames])


def loo_error(clip: Clip) -> float | None:
    """Return the leave-one-out score of 10 frames, or None where the critic does not know."""
    video: Tensor = torch.from_numpy(clip.clip(0, 1)).permute(0, 3, 1, 2).contiguous()
    row = videogpa.score(video, critic="sfm")
    return row.loo_error if row.status == "ok" else None


def severity_correlation(scores: list[float | None]) -> float | None:
    """Return Spearman's correlation of severity with score over those that have one; None with fewer than three."""
    known = [(severity, score) for severity, score in enumerate(scores) if score is not None]
    if len(known) < 3:
        return None
    severities, values = zip(*known, strict=True)
    return spearman(torch.tensor(severities, dtype=torch.float32), torch.tensor(values, dtype=torch.float32))


def tables(arguments: argparse.Namespace, rows: list[str], series: list[float | None], moved: list[str], missing: int) -> str:
    """Return the report in Markdown."""
    known = [value for value in series if value is not None]
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    return "\n".join(
        [
            "# Damage done to real clips, and the leave-one-out score",
            "",
            f"Commit {commit}; {processor()}; command `python benchmarks/damage.py --clips FOLDER --take {arguments.take}`.",
            "Severities 0 to 4 as `benchmarks/damage.py` defines them, score = MSE + LPIPS-alex over covered pixels.",
            "",
            "| clip | damage | 0 | 1 | 2 | 3 | 4 | Spearman |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"Mean Spearman over {len(known)} series: **{sum(known) / len(known):.3f}**. "
            f"Damaged clips without a score: {missing} of {LEVELS * len(series)}.",
            "",
            "| clip | treatment | before | after | change |",
            "|---|---|---|---|---|",
            *moved,
            "",
        ]
    )


def number(value: float | None) -> str:
    """Return three digits, or a word."""
    return "none" if value is None else f"{value:.3f}"


def change(before: float, after: float | None) -> str:
    """Return the change in per cent."""
    return "none" if after is None else f"{100 * (after / before - 1):+.0f} %"


def _displace(frame: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return the frame with each pixel taken from `field` pixels away; the border repeats."""
    v, u = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
    moved: np.ndarray = cv2.remap(
        frame, u + field[:, :, 0], v + field[:, :, 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return moved


def _bump(height: int, width: int, x: float, y: float, sigma: float) -> np.ndarray:
    """Return a Gaussian of height 1 at (x, y), in widths and heights; sigma in widths."""
    v, u = np.mgrid[:height, :width].astype(np.float32)
    distance = ((u / width - x) ** 2 + ((v - y * height) / width) ** 2) / sigma**2
    bump: np.ndarray = np.exp(-distance / 2).astype(np.float32)
    return bump


def _window(height: int, width: int) -> np.ndarray:
    """Return 1 in the middle third (by sides) of the frame, falling to 0 within a twentieth of the width."""
    v, u = np.mgrid[:height, :width].astype(np.float32)
    outside = np.maximum(np.abs(u - width / 2) - width / 6, np.abs(v - height / 2) - height / 6)
    window: np.ndarray = np.clip(1 - outside / (width / 20), 0, 1).astype(np.float32)
    return window


if __name__ == "__main__":
    main()

"""Time VGGT's network and its memory against a plain twin, and tell where the time of a clip goes.

    python benchmarks/critic.py --size 1b --device cuda --precision bfloat16 --out benchmarks/results/critic.md
    python benchmarks/critic.py --size small --height 56 --width 84 --threads 1 --out benchmarks/results/critic.md

Weights are random: time and memory do not depend on their values. Ours has the camera and the depth head, which is what a
score needs. The twin does what the published code does: it keeps what all 24 layers say, runs all three heads, and holds its
weights in float32, to be cast for each product. Both make dense maps of 8 frames at a time.

Every cell is measured in a process of its own, and so is its peak of memory: on a GPU what torch holds there, weights
included; on a CPU what the process grew by. Seconds are of a second run, after one to warm up, and the least of several such
processes; on a CPU they are the process's own, of all its threads, which other work on the machine disturbs less. The two
networks take turns, and "times faster" is the median ratio of a turn: of a busy machine it is the only figure of time to trust.
"""

import argparse
import resource
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from machine import accelerator, apart, clocked, processor
from videogpa.critics.networks.vggt import HEADS, Vggt, VggtConfig
from videogpa.critics.networks.vit import patch_grid
from videogpa.critics.networks.weights import reduce_precision
from videogpa.reconstruction import Reconstruction
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.reprojection import leave_one_out_scores, render_splat
from videogpa.storage.provenance import git_commit
from videogpa.video import read_frames, write_video

CONFIGS = {
    "1b": VggtConfig(),
    "small": VggtConfig(
        embed_dim=64, vit_depth=4, num_heads=4, camera_heads=4, dpt_features=32, dpt_out_channels=(16, 32, 64, 64)
    ),  # 24 pairs of blocks as in the large one: what they say is what the twin keeps
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CHUNK = 8  # frames, in the dense heads (published code)
CLIP = (49, 480, 720)  # frames, height and width of what CogVideoX makes
SEEN = (350, 518)  # height and width of what the critic sees of it
JUDGED = 10  # frames of a clip (paper)


@dataclass(frozen=True)
class Setting:
    """What is the same for all cells."""

    size: str
    device: str
    precision: str
    height: int
    width: int
    threads: int
    repeats: int


def main() -> None:
    """Print the tables, and write them to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=CONFIGS, default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=DTYPES, default="float32")
    parser.add_argument("--frames", type=int, nargs="+", default=[10, 50, 100, 200, 500])
    parser.add_argument("--height", type=int, default=SEEN[0])
    parser.add_argument("--width", type=int, default=SEEN[1])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lpips-net", choices=["alex", "vgg"], default="vgg")
    parser.add_argument("--note", default="", help="what else the reader must know, such as other work on the machine")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    names = ("size", "device", "precision", "height", "width", "threads", "repeats")
    setting = Setting(**{name: getattr(arguments, name) for name in names})
    report = "\n".join(
        [
            *heading(setting, arguments.note),
            f"Ours and the twin, with the same weights, differ by {apart(disagreement, setting):.1e} of the largest depth.",
            "",
            *network_table(setting, arguments.frames),
            "",
            *clip_table(apart(parts_of_a_clip, at_full_size(setting), arguments.lpips_net), arguments.lpips_net),
            "",
        ]
    )
    print(report)
    if arguments.out:
        arguments.out.write_text(report, encoding="utf-8")


def heading(setting: Setting, note: str) -> list[str]:
    """Return the title, and under what conditions the figures came about."""
    return [
        "# The network of the paper's critic",
        "",
        f"`python {shlex.join(sys.argv)}`, at commit {git_commit()}; {processor()}, {accelerator(setting.device)}; "
        f"torch {torch.__version__}.",
        f"VGGT's architecture ({setting.size}) with random weights, {setting.precision} in the trunk, frames of",
        f"{setting.height} x {setting.width} pixels; {setting.repeats} turns. {note}".rstrip(),
        "",
    ]


def network_table(setting: Setting, frames: Sequence[int]) -> list[str]:
    """Return the figures of both networks for so many frames a clip."""
    lines = [
        "| frames | ours: clips/s | GB | plain: clips/s | GB | times faster | of the memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for count in frames:
        turns = [[apart(cost_of_network, setting, count, lean) for lean in (True, False)] for _ in range(setting.repeats)]
        gain = f"{median(plain[0] / ours[0] for ours, plain in turns):.2f}" if all(cost[0] for cost in turns[0]) else "-"
        (ours, memory), (plain, plain_memory) = (least_and_most(costs) for costs in zip(*turns, strict=True))
        cells = [*network_cells(ours, memory), *network_cells(plain, plain_memory), gain]
        share = f"{memory / plain_memory:.0%}" if gain != "-" else "-"
        lines.append(f"| {count} | {' | '.join([*cells, share])} |")
        print(lines[-1], file=sys.stderr, flush=True)  # the largest take long
    return lines


def least_and_most(costs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the least seconds and the highest peak of memory of the same work done several times."""
    seconds, memory = zip(*costs, strict=True)
    return min(seconds), max(memory)


def network_cells(seconds: float, memory: float) -> list[str]:
    """Return a network's two cells of a line."""
    return [f"{1 / seconds:.3g}", f"{memory:.2f}"] if seconds else ["out of memory", "-"]


def clip_table(parts: dict[str, float], lpips_net: str) -> list[str]:
    """Return where the time of a clip goes."""
    total = sum(parts.values())
    return [
        f"A clip of {CLIP[0]} frames of {CLIP[1]} x {CLIP[2]}, {JUDGED} of them judged at {SEEN[0]} x {SEEN[1]}, "
        f"LPIPS-{lpips_net}: {1 / total:.3g} clips/s.",
        "What is rendered is a made-up scene of that size: random weights give cameras that see nothing.",
        "",
        "| part | seconds | share |",
        "|---|---|---|",
        *(f"| {name} | {seconds:.3f} | {seconds / total:.0%} |" for name, seconds in parts.items()),
    ]


def at_full_size(setting: Setting) -> Setting:
    """Return the setting with frames as the critic sees them."""
    return replace(setting, height=SEEN[0], width=SEEN[1])


def cost_of_network(setting: Setting, frames: int, lean: bool) -> tuple[float, float]:
    """Return seconds and peak GB of one clip; seconds 0 if the GPU has too little memory."""
    start = psutil.Process().memory_info().rss
    network = ours if lean else plain
    model = build(setting, lean=lean)
    clip = noise(setting, frames)
    try:
        seconds = timed(lambda: network(model, clip), setting.device, 1)
    except torch.OutOfMemoryError:
        return 0.0, 0.0
    if setting.device.startswith("cuda"):
        return seconds, torch.cuda.max_memory_allocated() / 1e9
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - start) / 1e9


def disagreement(setting: Setting) -> float:
    """Return the largest difference of the two networks' depths, as a share of the largest depth."""
    model, clip = build(setting, lean=False), noise(setting, 3)
    depth = ours(model, clip)
    return float((depth - plain(model, clip)).abs().max() / depth.max())


def ours(model: Vggt, clip: Tensor) -> Tensor:
    """Return the depth as the critic gets it."""
    depth = model(clip, frames_per_chunk=CHUNK).depth
    assert isinstance(depth, Tensor)
    return depth[..., 0]


@torch.no_grad()
def plain(model: Vggt, clip: Tensor) -> Tensor:
    """Return the depth as the published code gets it: all layers kept, all heads run."""
    model.aggregator.read = set(range(model.config.depth))
    kept = [torch.cat(halves, dim=-1) for _, halves in model.aggregator.layers(clip, clip.shape[1])]
    grid = patch_grid(clip, model.config.patch_size)
    patches = grid[0] * grid[1]
    assert model.camera_head is not None
    model.camera_head(kept[-1][:, :, 0])
    maps = []
    for head in (model.depth_head, model.point_head):
        assert head is not None
        chunks = []
        for start in range(0, clip.shape[1], CHUNK):
            tokens = [kept[layer][0, start : start + CHUNK, -patches:] for layer in model.config.dpt_layers]
            chunks.append(head([head.project(stage, layer, *grid) for stage, layer in enumerate(tokens)]))
        maps.append(torch.cat(chunks))
    return maps[0][None, :, 0].exp()


def parts_of_a_clip(setting: Setting, lpips_net: str) -> dict[str, float]:
    """Return the seconds of each step from a file to its scores."""
    model = build(setting, lean=True)
    lpips = Lpips("vgg" if lpips_net == "vgg" else "alex").to(setting.device)
    scene = made_up_scene(setting)
    rendered, _ = render_splat(scene)
    clip = noise(setting, JUDGED)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "clip.mp4"
        blurred = interpolate(torch.rand(CLIP[0], 3, CLIP[1] // 16, CLIP[2] // 16), CLIP[1:], mode="bilinear")
        write_video(video, blurred, fps=8)
        steps: dict[str, Callable[[], object]] = {
            "decode": lambda: read_frames(video, JUDGED),
            "network": lambda: ours(model, clip),
            "render": lambda: render_splat(scene),
            "LPIPS": lambda: lpips(rendered, scene.images),
            "leave-one-out: render and LPIPS": lambda: leave_one_out_scores(scene, lpips),
        }
        return {name: timed(step, setting.device, setting.repeats) for name, step in steps.items()}


def made_up_scene(setting: Setting) -> Reconstruction:
    """Return a wavy wall that a camera slides along."""
    height, width = setting.height, setting.width
    v, u = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    depth = (3 + torch.sin(20 * u / width) + torch.cos(15 * v / height)).expand(JUDGED, -1, -1)
    cameras = torch.eye(4).repeat(JUDGED, 1, 1)
    cameras[:, 0, 3] = -0.1 * torch.arange(JUDGED)
    matrix = torch.tensor([[width, 0, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1]])
    return Reconstruction(
        images=torch.rand(JUDGED, 3, height, width).to(setting.device),
        depth=depth.to(setting.device),
        confidence=torch.ones_like(depth).to(setting.device),
        intrinsics=matrix.expand(JUDGED, 3, 3).to(setting.device),
        camera_from_world=cameras.to(setting.device),
    )


def build(setting: Setting, *, lean: bool) -> Vggt:
    """Return the network, with random weights."""
    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    precision = DTYPES[setting.precision]
    with torch.device(setting.device):
        model = Vggt(CONFIGS[setting.size], ("camera", "depth") if lean else HEADS, precision=precision).eval()
    if lean:
        reduce_precision(model.aggregator, precision)
    return model.requires_grad_(False)


def noise(setting: Setting, frames: int) -> Tensor:
    """Return a clip of noise."""
    return torch.rand(1, frames, 3, setting.height, setting.width, device=setting.device)


def timed(run: Callable[[], object], device: str, repeats: int) -> float:
    """Return the least seconds of several runs: on a GPU those that pass, on a CPU those that the process works."""
    run()
    return min(clocked(run, device)[1] for _ in range(repeats))


if __name__ == "__main__":
    main()

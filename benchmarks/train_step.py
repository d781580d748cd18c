"""Time a training step on preference pairs, and its memory, against a plain twin: published architectures, random weights.

    python benchmarks/train_step.py --device cuda --out benchmarks/results/train_step.md
    python benchmarks/train_step.py --device cpu --layers 2 --scale 0.2 --out benchmarks/results/train_step.md

A step is what `videogpa train` does: read the latents, forward and backward for every pair, clip, update. Ours is that code;
the twin is `train_step_twin.py`: a second network as the reference and four forward passes. Both start from the same weights
and see the same pairs, noise and timesteps; the adapter is filled with noise, since a fresh one gives log 2 whatever the code.

Every row is measured in a process of its own. Memory is the peak of a step, weights included: what torch holds on a GPU, and
what the process grew by since before the network was built on a CPU. On a CPU the clock counts the process's own time, which
other work on the machine disturbs less. The utilisation is that of `Architecture.pair_flops`.

Of the package's dependencies it imports torch, diffusers, transformers, peft, accelerate, safetensors, pydantic, PyYAML, psutil
and jaxtyping, and nothing else: no codecs, no COLMAP, no OpenCV.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

from machine import accelerator, apart, clocked, processor
from train_step_networks import ARCHITECTURES, Architecture
from train_step_twin import ERRORS, Twin
from videogpa.config import TimestepsConfig, TrainConfig
from videogpa.models.base import VideoModel
from videogpa.records import Latents
from videogpa.storage.provenance import git_commit
from videogpa.storage.run_folder import RunFolder
from videogpa.training.data import Batches, EncodedPair
from videogpa.training.distributed import new_accelerator
from videogpa.training.memory import peak_gib
from videogpa.training.trainer import Trainer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
RATES = {"NVIDIA H200": 989e12, "NVIDIA H100 80GB HBM3": 989e12}  # dense bfloat16 products a second (NVIDIA's data sheets)
STIRRED = 0.02  # spread of the adapter's weights: its effect is then small and not lost in rounding
GIB = 2**30

Step = Callable[[int], tuple[float, float]]
"""Takes step 0, 1, ...; returns its loss and the norm of its gradient."""


@dataclass(frozen=True)
class Case:
    """What is trained, and how: the same for every row of a table."""

    model: str
    layers: int | None
    scale: float
    device: str
    dtype: str
    pairs: int
    checkpointing: bool
    rank: int
    repeats: int
    threads: int

    @property
    def architecture(self) -> Architecture:
        """The network and the clip, reduced as asked for."""
        return ARCHITECTURES[self.model].reduced(layers=self.layers, scale=self.scale)


@dataclass(frozen=True)
class Measured:
    """Of one row. `memory` is in bytes, `seconds` per step; `loss` and `gradient` are the first step's."""

    seconds: list[float]
    memory: int
    loss: float
    gradient: float


def main() -> None:
    """Print the tables, and write them to a file if one is named."""
    arguments = parse()
    names = list(ARCHITECTURES) if arguments.model == "all" else [arguments.model]
    shared = {name: getattr(arguments, name) for name in Case.__dataclass_fields__ if name != "model"}
    modes = [mode for mode in ("together", "in turn") if arguments.mode in (None, mode)]
    report = "\n".join(
        [
            "# A training step",
            "",
            f"`python {shlex.join(sys.argv)}`, at commit {git_commit()}; {processor()}, {accelerator(arguments.device)}; "
            f"torch {torch.__version__}. {arguments.note}".rstrip(),
            *(line for name in names for line in table(Case(model=name, **shared), modes)),
            "",
        ]
    )
    print(report)
    if arguments.out:
        arguments.out.write_text(report, encoding="utf-8")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*ARCHITECTURES, "all"], default="all")
    parser.add_argument("--layers", type=int, help="so many of the network's layers")
    parser.add_argument("--scale", type=float, default=1.0, help="of every axis of the latents, and of the text's length")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of the weights; the adapter is float32")
    parser.add_argument("--pairs", type=int, default=1, help="a step, one after the other")
    parser.add_argument(
        "--checkpointing", action=argparse.BooleanOptionalAction, default=True, help="of gradients, in all rows"
    )
    parser.add_argument("--together", dest="mode", action="store_const", const="together", help="of ours only this mode")
    parser.add_argument("--in-turn", dest="mode", action="store_const", const="in turn", help="of ours only this mode")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed, after one to warm up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--note", default="", help="what else the reader must know, such as other work on the machine")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def table(case: Case, modes: list[str]) -> list[str]:
    """Return a model's title, and its rows."""
    architecture = case.architecture
    frames, _, height, width = architecture.latents
    flops = architecture.pair_flops(case.rank)
    rate = RATES.get(accelerator(case.device)) or apart(rate_of_products, case)
    rows = {name: apart(measure, case, name) for name in ("twin", *modes)}
    return [
        "",
        f"## {case.model}",
        "",
        f"{architecture.config['num_layers']} layers, latents of {frames} x {height} x {width}, "
        f"{architecture.text_tokens} tokens of text, {case.dtype}, rank {case.rank}, {case.pairs} pair(s) a step, "
        f"{'with' if case.checkpointing else 'without'} gradient checkpointing; {case.repeats} steps: median (least to most).",
        f"A pair is {flops / 1e12:.3g} TFLOP; utilisation is of {rate / 1e12:.3g} TFLOP/s.",
        "",
        "| | pairs/s | times the twin | peak memory, GiB | of the twin's | utilisation | loss | gradient |",
        "|---|---|---|---|---|---|---|---|",
        *(row(name, found, rows["twin"], case.pairs, flops / rate) for name, found in rows.items()),
    ]


def row(name: str, found: Measured | None, twin: Measured | None, pairs: int, ideal: float) -> str:
    """Return a line of the table. `ideal` are the seconds of a pair at the full rate."""
    label = name if name == "twin" else f"ours, {name}"
    if found is None:
        return f"| {label} | out of memory | | | | | | |"
    speeds = sorted(pairs / seconds for seconds in found.seconds)
    speed = median(speeds)
    gain = f"{speed * median(twin.seconds) / pairs:.2f}" if twin else "-"
    share = f"{found.memory / twin.memory:.0%}" if twin else "-"
    return (
        f"| {label} | {speed:.3g} ({speeds[0]:.3g} to {speeds[-1]:.3g}) | {gain} | {found.memory / GIB:.2f} | {share} "
        f"| {ideal * speed:.1%} | {found.loss:.5f} | {found.gradient:.3g} |"
    )


def measure(case: Case, name: str) -> Measured | None:
    """Take steps and measure them; None if the memory of a GPU does not suffice. In a process of its own."""
    torch.set_num_threads(case.threads)
    device = torch.device(case.device)
    before = 0 if device.type == "cuda" else psutil.Process().memory_info().rss
    try:
        with TemporaryDirectory() as folder:
            take = (twin_step if name == "twin" else our_step)(case, RunFolder(Path(folder)), together=name != "in turn")
            (loss, gradient), _ = clocked(partial(take, 0), case.device)
            seconds = [clocked(partial(take, step), case.device)[1] for step in range(1, case.repeats + 1)]
    except torch.OutOfMemoryError:
        return None
    return Measured(seconds, int(peak_gib(device) * GIB) - before, loss, gradient)


def our_step(case: Case, folder: RunFolder, *, together: bool) -> Step:
    """Return the step of `videogpa train`."""
    device = torch.device(case.device)
    model = case.architecture.build(device, DTYPES[case.dtype])
    config = TrainConfig(
        loss="dpo",
        batch_size=1,
        gradient_accumulation_steps=case.pairs,
        lora_rank=case.rank,
        joint_forward=together,
        gradient_checkpointing=case.checkpointing,
    )
    batches = random_pairs(case, model, folder)
    alone = new_accelerator(device, [], folder.path)
    trainer = Trainer(config, model, batches.pairs, [], folder, fingerprint="", accelerator=alone)
    stir(trainer.trained)

    def take(step: int) -> tuple[float, float]:
        found = trainer.take_step(step)
        return found.loss, found.gradient_norm or 0.0

    return take


def twin_step(case: Case, folder: RunFolder, *, together: bool) -> Step:
    """Return the step of the twin."""
    device, dtype, config = torch.device(case.device), DTYPES[case.dtype], TrainConfig()
    model = case.architecture.build(device, dtype)
    targets = list(model.lora_targets)
    policy = get_peft_model(model.transformer, LoraConfig(r=case.rank, lora_alpha=config.lora_alpha, target_modules=targets))
    if case.checkpointing:
        model.enable_gradient_checkpointing()
    twin = Twin(
        model=model,
        policy=policy,
        reference=case.architecture.build(device, dtype).transformer,
        optimizer=torch.optim.AdamW(policy.parameters(), lr=config.learning_rate),
        batches=random_pairs(case, model, folder),
        error=ERRORS[case.model],
        dtype=dtype,
        pairs=case.pairs,
        beta=config.beta,
        clip_norm=config.max_grad_norm,
    )
    stir(twin.trained)
    return twin.take


def random_pairs(case: Case, model: VideoModel, folder: RunFolder) -> Batches:
    """Write a pair's latents and its text states, all noise, where and how `videogpa encode` would, and return the reader."""
    architecture, generator = case.architecture, torch.Generator().manual_seed(0)
    features = architecture.config.get("text_embed_dim") or architecture.config["text_dim"]
    text = torch.randn(architecture.text_tokens, features, generator=generator).to(DTYPES[case.dtype])
    save_file({"text": text}, folder / "condition.safetensors")
    for name in ("winner", "loser"):
        save_file({"latents": torch.randn(architecture.latents, generator=generator)}, folder / f"{name}.safetensors")
    winner, loser = (
        Latents(fingerprint="", clip=name, prompt="", path=f"{name}.safetensors", condition="condition.safetensors")
        for name in ("winner", "loser")
    )
    return Batches([EncodedPair(winner, loser)], folder, model, torch.device(case.device), TimestepsConfig(), seed=0)


def stir(adapter: list[torch.nn.Parameter]) -> None:
    """Fill an adapter with noise, the same each time."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter:
            parameter.copy_(STIRRED * torch.randn(parameter.shape, generator=generator))


def rate_of_products(case: Case) -> float:
    """Return the FLOP/s of a large matrix product in the dtype of the weights: what a network can at best reach here."""
    torch.set_num_threads(case.threads)
    side = 8192 if case.device.startswith("cuda") else 2048
    left, right = (torch.randn(side, side, device=case.device).to(DTYPES[case.dtype]) for _ in range(2))
    seconds = [clocked(lambda: left @ right, case.device)[1] for _ in range(1 + case.repeats)][1:]
    return 2 * side**3 / min(seconds)


if __name__ == "__main__":
    main()

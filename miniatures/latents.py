"""The latents of the training clips, which are computed once and train the transformer."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from miniatures.clips import render_clips, training_clip
from miniatures.plan import Plan
from miniatures.vae import to_vae
from videogpa.storage.files import atomic_path
from videogpa.workers import map_items
from videogpa.world.paths import PATHS

ENCODED_AT_ONCE = 4  # the fastest number on a CPU core, as more do not fit its cache


@dataclass(frozen=True, eq=False)
class Encoded:
    """Training clips as latents, before scaling, in float16.

    `image` and `image_std` are of the posterior of the first frame alone, which is what an image-to-video pipeline encodes;
    `camera` is the index of the camera path in `PATHS`.
    """

    video: Float[Tensor, "clips latent_frames channels h w"]
    image: Float[Tensor, "clips 1 channels h w"]
    image_std: Float[Tensor, "clips 1 channels h w"]
    camera: Int[Tensor, " clips"]


def encode_clips(plan: Plan, out: Path, device: torch.device) -> None:
    """Write the latents of all training clips to `<out>/latents`, one file per chunk. Existing files are kept.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        out: The folder of the making, which holds the autoencoder.
        device: Where the tensors are computed.
    """
    wanted = [number for number in range(-(-plan.clips // plan.chunk)) if not _file(out, number).exists()]
    if not wanted:
        return
    vae = AutoencoderKLCogVideoX.from_pretrained(out / "vae").to(device).eval()
    for _ in map_items(lambda number: _write(vae, plan, out, number, device), wanted, label="latents"):
        pass


def read_latents(plan: Plan, out: Path, device: torch.device) -> Encoded:
    """Return the latents of all training clips whose files exist already.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        out: The folder of the making, which holds the latents.
        device: Where they are put.
    """
    files = [load_file(_file(out, number)) for number in range(-(-plan.clips // plan.chunk)) if _file(out, number).exists()]
    parts = {name: torch.cat([file[name] for file in files]).to(device) for name in ("video", "image", "image_std", "camera")}
    return Encoded(**parts)


def _file(out: Path, number: int) -> Path:
    return out / "latents" / f"{number:05d}.safetensors"


@torch.no_grad()
def _write(vae: AutoencoderKLCogVideoX, plan: Plan, out: Path, number: int, device: torch.device) -> None:
    numbers = range(number * plan.chunk, min((number + 1) * plan.chunk, plan.clips))
    columns: dict[str, list[Tensor]] = {"video": [], "image": [], "image_std": []}
    for start in range(0, len(numbers), ENCODED_AT_ONCE):
        clips = to_vae(render_clips(plan, numbers[start : start + ENCODED_AT_ONCE], device))
        with torch.autocast(device.type, torch.bfloat16):  # half a per cent of error, where noise will be added
            first, whole = vae.encode(clips[:, :, :1]).latent_dist, vae.encode(clips).latent_dist
        for name, part in (("video", whole.mode()), ("image", first.mode()), ("image_std", first.std)):
            columns[name].append(part.transpose(1, 2).half().cpu())
    cameras = [list(PATHS).index(training_clip(plan, number).scene.camera) for number in numbers]
    tensors = {name: torch.cat(parts).contiguous() for name, parts in columns.items()}
    with atomic_path(_file(out, number)) as temporary:
        save_file({**tensors, "camera": torch.tensor(cameras)}, temporary)

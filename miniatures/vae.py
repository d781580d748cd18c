"""The miniature's autoencoder: CogVideoX's class at small width, trained on clips of the plain world."""

import logging
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX
from jaxtyping import Float
from torch import Tensor

from miniatures.clips import render_clips, render_frames
from miniatures.fit import Budget, fit
from miniatures.plan import Plan
from miniatures.thumbnail import start_as_thumbnail
from videogpa.storage.files import atomic_folder

_log = logging.getLogger(__name__)

KL_WEIGHT = 1e-4  # per latent value, relative to the mean colour error: latents are near a unit Gaussian, with little noise
SCALED_ON = 128  # clips on which the variance of the latents is measured


def build_vae(plan: Plan) -> AutoencoderKLCogVideoX:
    """Build the autoencoder with its initial weights; the plan's seed determines the random ones.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
    """
    levels = len(plan.vae_widths)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        vae = AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * levels,
            up_block_types=("CogVideoXUpBlock3D",) * levels,
            block_out_channels=plan.vae_widths,
            layers_per_block=1,
            norm_num_groups=plan.vae_groups,
            latent_channels=plan.latent_channels,
            sample_height=plan.size,
            sample_width=plan.size,
            scaling_factor=1.0,
        )
    start_as_thumbnail(vae)
    return vae


def train_vae(plan: Plan, out: Path, budget: Budget, device: torch.device, start: Path | None = None) -> None:
    """Train the autoencoder, and write it to `<out>/vae` with the factor that scales its latents to unit variance.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        out: The folder of the making, to which all of its stages write.
        budget: The number of steps or minutes.
        device: Where the tensors are computed.
        start: The folder of an autoencoder that training starts from, which may be of another picture size; None: from
            `build_vae`.
    """
    if (out / "vae").exists():
        return
    vae = build_vae(plan).to(device)
    if start is not None:
        vae.load_state_dict(AutoencoderKLCogVideoX.from_pretrained(start).state_dict())
    fit(
        vae,
        lambda step: _loss(vae, _batch(plan, step, device), step),
        out / "vae.pt",
        rate=plan.vae_rate,
        budget=budget,
        checkpoint_seconds=plan.checkpoint_seconds,
    )
    vae.register_to_config(scaling_factor=_scaling_factor(vae, plan, device))
    _log.info("the latents are scaled by %.4f", vae.config.scaling_factor)
    with atomic_folder(out / "vae") as temporary:
        vae.save_pretrained(temporary)


def to_vae(clips: Float[Tensor, "clips frames 3 height width"]) -> Float[Tensor, "clips 3 frames height width"]:
    """Convert RGB in [0, 1] to the VAE's range [-1, 1] and axis order.

    Args:
        clips: RGB in [0, 1].
    """
    return (2 * clips - 1).transpose(1, 2)


def _batch(plan: Plan, step: int, device: torch.device) -> Float[Tensor, "clips 3 frames height width"]:
    """Return in turn one clip, and as many single frames of different scenes, which cost the same and are more diverse."""
    if step % 2 == 0:
        return to_vae(render_clips(plan, [step // 2], device))
    first = step // 2 * plan.frames
    return to_vae(render_frames(plan, range(first, first + plan.frames), device))


def _loss(vae: AutoencoderKLCogVideoX, clips: Float[Tensor, "clips 3 frames height width"], step: int) -> Tensor:
    generator = torch.Generator(clips.device).manual_seed(step)
    with torch.autocast(clips.device.type, torch.bfloat16):
        posterior = vae.encode(clips).latent_dist
        restored = vae.decode(posterior.sample(generator)).sample
    error = restored.float() - clips
    divergence = (posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float()).mean() / 2
    loss: Tensor = error.abs().mean() + error.square().mean() + KL_WEIGHT * divergence
    return loss


@torch.no_grad()
def _scaling_factor(vae: AutoencoderKLCogVideoX, plan: Plan, device: torch.device) -> float:
    clips = to_vae(render_clips(plan, range(SCALED_ON), device))
    latents = torch.cat([vae.encode(part).latent_dist.mode() for part in torch.split(clips, 8)])
    return 1 / float(latents.std())

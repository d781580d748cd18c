"""The miniature's geometry model: VGGT's class at small width, trained only on true clips of the plain world.

The losses follow Wang et al. 2025, https://arxiv.org/abs/2503.11651, section 3.3: one for cameras, and one for depth, weighted
with the predicted confidence. Two things differ: depth errors are those of its logarithm, and lengths are divided by a
constant, since all rooms have about the same size.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from torch.nn import init
from torch.nn.functional import interpolate, smooth_l1_loss

from miniatures.clips import training_clip
from miniatures.fit import Budget, averaged_into, fit
from miniatures.grow import grow_geometry
from miniatures.plan import Plan
from videogpa.critics.networks.framing import frame_for_network
from videogpa.critics.networks.pose import encode_cameras
from videogpa.critics.networks.vggt import Prediction, Vggt
from videogpa.storage.files import atomic_folder, write_text
from videogpa.world.animation import Shot, at_frames, shot
from videogpa.world.failures import Take, render_takes
from videogpa.world.paths import intrinsics
from videogpa.world.raycast import exact_depth

GEOMETRY = "vggt"
"""The name of the folder that the model is written to, which is also its name in the package."""
WEIGHTS = "model.safetensors"

METRES = 3.0  # the network's unit of length: about as far as the middle of a room is from the camera
LEAST_FRAMES = 3
CONFIDENCE_PRICE = 0.2  # the penalty on low confidence, alpha of the paper; see LEAST_CONFIDENCE of critics/vggt.py
CAMERA_WEIGHT = 30.0  # of the mean over a camera's nine numbers: two per cent of depth move a pixel as far as 0.003 of these
NEARLY = 0.01  # camera errors below it count squared: three centimetres, one degree
SOFTEST = 0.6  # the smallest factor by which clips are shrunk and enlarged again; the result is as soft as an autoencoder's
NOISE = 0.02  # largest standard deviation of the noise on colours


@dataclass(frozen=True, eq=False)
class Views:
    """A batch of true clips, as inputs of the network, and their true geometry. Lengths are in the network's unit."""

    images: Float[Tensor, "clips frames 3 side side"]
    depth: Float[Tensor, "clips frames side side"]
    camera_from_first: Float[Tensor, "clips frames 4 4"]
    field: float
    """The field of view in radians, the same vertically and horizontally."""


def build_geometry(plan: Plan) -> Vggt:
    """Build the network with random weights that the plan's seed determines.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        model = Vggt(plan.geometry, ("camera", "depth"))
        trunk = model.aggregator
        for token in (
            trunk.camera_token, trunk.register_token, trunk.patch_embed.cls_token, trunk.patch_embed.pos_embed
        ):  # fmt: skip
            init.normal_(token, std=0.02)
        assert model.camera_head is not None
        with torch.no_grad():  # four passes add up to no rotation and a field of view of 70 degrees
            model.camera_head.pose_branch.fc2.bias.copy_(torch.tensor([0, 0, 0, 0, 0, 0, 0.25, 0.3, 0.3]))
    return model


def train_geometry(plan: Plan, out: Path, budget: Budget, device: torch.device, smaller: Path | None = None) -> None:
    """Train the network; its checkpoint is `<out>/vggt.pt`, and the model with averaged weights is written to `<out>/vggt`.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        out: The folder of the making, to which all of its stages write.
        budget: The number of steps or minutes.
        device: Where the tensors are computed.
        smaller: The folder of a model with coarser patches that training starts from; None: from random weights.
    """
    model, path = build_geometry(plan).to(device), out / "vggt.pt"
    if smaller is not None:
        grow_geometry(model, {name: tensor.float() for name, tensor in load_file(smaller / WEIGHTS).items()})
    fit(
        model,
        lambda step: geometry_loss(model, training_views(plan, step, device)),
        path,
        rate=plan.geometry_rate,
        budget=budget,
        checkpoint_seconds=plan.checkpoint_seconds,
    )
    export_geometry(plan, out)


def export_geometry(plan: Plan, out: Path) -> Path:
    """Write the model with the averaged weights of the last checkpoint, in float16; return its folder.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        out: The folder of the making, to which all of its stages write.
    """
    model = build_geometry(plan)
    averaged_into(model, out / "vggt.pt")
    with atomic_folder(out / GEOMETRY) as temporary:
        write_text(temporary / "config.json", plan.geometry.model_dump_json(indent=1) + "\n")
        save_file({name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}, temporary / WEIGHTS)
    return out / GEOMETRY


def training_views(plan: Plan, step: int, device: torch.device) -> Views:
    """Return the batch of a step: the first and some other frames of clips with different scenes. Half the clips are soft.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        step: The number of the step, which determines the clips, their frames and their noise.
        device: Where the tensors are computed.
    """
    generator = Generator().manual_seed(plan.seed + step)
    count = int(torch.randint(LEAST_FRAMES, plan.frames + 1, (), generator=generator))
    first = step * plan.geometry_batch
    shots = [shot(training_clip(plan, first + number).scene) for number in range(plan.geometry_batch)]
    chosen = [at_frames(one, _frames(plan.frames, count, generator)) for one in shots]
    clips = render_takes([Take(one) for one in chosen], plan.size, plan.size, device)
    soft = torch.rand(len(clips), generator=generator).clamp(min=0.5) * 2 - 1  # 0 for one half, up to 1 for the other
    clips = torch.stack([_softened(clip, float(share)) for clip, share in zip(clips, soft, strict=True)])
    noise = NOISE * torch.rand(len(clips), 1, 1, 1, 1, generator=generator) * torch.randn(clips.shape, generator=generator)
    return as_views(plan, (clips + noise.to(device)).clamp(0, 1), chosen)


def _frames(total: int, count: int, generator: Generator) -> list[int]:
    others = 1 + torch.randperm(total - 1, generator=generator)[: count - 1]
    return [0, *sorted(others.tolist())]


def as_views(plan: Plan, clips: Float[Tensor, "clips frames 3 height width"], shots: list[Shot]) -> Views:
    """Return clips framed as the critic frames them for the network, with the true geometry of their shots.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        clips: RGB in [0, 1].
        shots: What each clip shows, with as many frames.
    """
    side, patch = plan.geometry.img_size, plan.geometry.patch_size
    camera = intrinsics(side, side)
    depth = torch.stack([exact_depth(one, camera, height=side, width=side) for one in shots])
    cameras = torch.stack([one.camera_from_world for one in shots])
    relative = cameras @ torch.linalg.inv(cameras[:, :1])
    relative[..., :3, 3] /= METRES
    shown = torch.stack([frame_for_network(clip, "whole", side, patch) for clip in clips])
    field = 2 * float(torch.atan(side / 2 / camera[0, 0]))
    return Views(shown, depth.to(clips) / METRES, relative.to(clips), field)


def geometry_loss(model: Vggt, views: Views) -> Tensor:
    """Return the weighted sum of the camera loss and the depth loss.

    Args:
        model: The network, with its heads for cameras and depth.
        views: The batch.
    """
    with torch.autocast(views.images.device.type, torch.bfloat16):
        said = model(views.images, frames_per_chunk=views.images.shape[0] * views.images.shape[1])
    return CAMERA_WEIGHT * _camera_loss(said, views) + _depth_loss(said, views)


def _camera_loss(said: Prediction, views: Views) -> Tensor:
    """Return the Huber loss of the encoding: with plain L1 the constant field of view oscillates and dominates the rest."""
    assert said.pose_enc is not None
    loss: Tensor = smooth_l1_loss(said.pose_enc.float(), encode_cameras(views.camera_from_first, views.field), beta=NEARLY)
    return loss


def _depth_loss(said: Prediction, views: Views) -> Tensor:
    assert said.depth is not None
    assert said.depth_conf is not None
    error = said.depth[..., 0].float().log() - views.depth.log()
    confidence = said.depth_conf.float()
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return (confidence * error.abs() - CONFIDENCE_PRICE * confidence.log()).mean() + edges


def _softened(clip: Float[Tensor, "frames 3 height width"], share: float) -> Float[Tensor, "frames 3 height width"]:
    size = clip.shape[-2:]
    smaller = [round(length * (1 - (1 - SOFTEST) * share)) for length in size]
    if smaller == list(size):
        return clip
    return interpolate(interpolate(clip, smaller, mode="area"), size, mode="bilinear", align_corners=False)

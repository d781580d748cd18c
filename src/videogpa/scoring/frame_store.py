"""The frames of a long reconstruction, on the disk while they are not looked at."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from videogpa.records import Reconstruction


class FrameStore:
    """Frames 0, 1, ... of a reconstruction; images in 8 bits, the rest as it was. Cameras stay in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._intrinsics: list[Tensor] = []
        self._camera_from_world: list[Tensor] = []

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self._intrinsics)

    @property
    def intrinsics(self) -> Float[Tensor, "frames 3 3"]:
        """Of all frames."""
        return torch.stack(self._intrinsics)

    @property
    def camera_from_world(self) -> Float[Tensor, "frames 4 4"]:
        """Of all frames."""
        return torch.stack(self._camera_from_world)

    def append(self, reconstruction: Reconstruction, frames: Sequence[int]) -> None:
        """Add some of the reconstruction's frames behind those that are there."""
        for frame in frames:
            tensors = {
                "images": (reconstruction.images[frame] * 255).round().to(torch.uint8),
                "depth": reconstruction.depth[frame],
                "confidence": reconstruction.confidence[frame],
            }
            if reconstruction.points is not None:
                tensors["points"] = reconstruction.points[frame]
            save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, self._path(len(self)))
            self._intrinsics.append(reconstruction.intrinsics[frame].cpu())
            self._camera_from_world.append(reconstruction.camera_from_world[frame].cpu())

    def load(self, frames: Sequence[int]) -> Reconstruction:
        """Return the reconstruction of some frames, on the CPU."""
        files = [load_file(self._path(frame)) for frame in frames]
        stacked = {name: torch.stack([file[name] for file in files]) for name in files[0]}
        return Reconstruction(
            images=stacked["images"].float() / 255,
            depth=stacked["depth"],
            confidence=stacked["confidence"],
            intrinsics=torch.stack([self._intrinsics[frame] for frame in frames]),
            camera_from_world=torch.stack([self._camera_from_world[frame] for frame in frames]),
            points=stacked.get("points"),
        )

    def _path(self, frame: int) -> Path:
        return self._folder / f"{frame:06d}.safetensors"

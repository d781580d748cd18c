"""The frames of a long reconstruction, kept on the disk: only those being compared are in memory."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from videogpa.errors import UserError
from videogpa.reconstruction import Reconstruction
from videogpa.storage.files import disk_errors


class FrameStore:
    """Frames 0, 1, ... of a reconstruction, one file each: images rounded to 8 bits, depth and confidence exact.

    The cameras stay in memory. The folder must exist, and belongs to this store alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._intrinsics: list[Tensor] = []
        self._camera_from_world: list[Tensor] = []

    def __len__(self) -> int:
        """Return the number of stored frames."""
        return len(self._intrinsics)

    @property
    def intrinsics(self) -> Float[Tensor, "frames 3 3"]:
        """Intrinsics of all stored frames, on the CPU."""
        return torch.stack(self._intrinsics)

    @property
    def camera_from_world(self) -> Float[Tensor, "frames 4 4"]:
        """Cameras of all stored frames, on the CPU."""
        return torch.stack(self._camera_from_world)

    def append(self, reconstruction: Reconstruction, frames: Sequence[int]) -> None:
        """Store the reconstruction's frames of the given indices after those stored already.

        Raises:
            UserError: If the disk is full.
        """
        for frame in frames:
            tensors = {
                "images": (reconstruction.images[frame] * 255).round().to(torch.uint8),
                "depth": reconstruction.depth[frame],
                "confidence": reconstruction.confidence[frame],
            }
            if reconstruction.points is not None:
                tensors["points"] = reconstruction.points[frame]
            if reconstruction.left_out is not None:
                tensors["left_out"] = reconstruction.left_out[frame]
            self._save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
            self._intrinsics.append(reconstruction.intrinsics[frame].cpu())
            self._camera_from_world.append(reconstruction.camera_from_world[frame].cpu())

    def load(self, frames: Sequence[int]) -> Reconstruction:
        """Return the reconstruction of the stored frames of the given numbers, on the CPU."""
        files = [load_file(self._path(frame)) for frame in frames]
        stacked = {name: torch.stack([file[name] for file in files]) for name in files[0]}
        return Reconstruction(
            images=stacked["images"].float() / 255,
            depth=stacked["depth"],
            confidence=stacked["confidence"],
            intrinsics=torch.stack([self._intrinsics[frame] for frame in frames]),
            camera_from_world=torch.stack([self._camera_from_world[frame] for frame in frames]),
            points=stacked.get("points"),
            left_out=stacked.get("left_out"),
        )

    def _save(self, tensors: dict[str, Tensor]) -> None:
        try:
            with disk_errors(path := self._path(len(self))):
                save_file(tensors, path)
        except OSError as error:
            taken = sum(tensor.nbytes for tensor in tensors.values()) >> 20
            raise UserError(
                f"a frame of a long clip ({taken:,} MiB) cannot be kept in {self._folder.parent} ({error.strerror}), after "
                f"{len(self):,} others: make room there, or set TMPDIR (on Windows TEMP) to another folder"
            ) from None

    def _path(self, frame: int) -> Path:
        return self._folder / f"{frame:06d}.safetensors"

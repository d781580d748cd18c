"""The configuration of a Wan folder: which member of the family it contains, and which sizes that model can generate."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel

from videogpa.errors import UserError
from videogpa.models.base import Expert
from videogpa.models.sizes import SizeRule

Kind = Literal["wan-t2v", "wan-i2v", "wan-ti2v"]
"""The members of the family, by their names in the registry."""


@dataclass(frozen=True)
class Configuration:
    """The contents of the configuration files of a folder or hub id. Weights are not loaded."""

    origin: Path | str
    index: Mapping[str, Any]
    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]

    @property
    def two_experts(self) -> bool:
        """Whether there is a second transformer, for low noise levels (Wan2.2 A14B)."""
        return self.index.get("transformer_2", (None, None))[0] is not None

    @property
    def _scale(self) -> tuple[int, int]:
        """The VAE's downsampling factors in time and in space. Older folders omit them and have those of Wan2.1, 4 and 8."""
        return self.vae.get("scale_factor_temporal", 4), self.vae.get("scale_factor_spatial", 8)

    def check_kind(self, expected: Kind, expert: Expert = "both") -> None:
        """Check that the folder contains the expected kind of model, and two experts if one of them is selected.

        Args:
            expected: The member of the family that the settings name.
            expert: The expert that is to be trained; "both" is valid for models with one transformer too.

        Raises:
            UserError: If the check fails; the message contains the kind of model that was found.
        """
        found = self._kind()
        if found is None:
            raise UserError(
                f"{self.origin} is a member of the Wan family that is not supported (such as first and last frame, VACE, "
                "Animate). Supported are text-to-video, image-to-video, and Wan2.2 TI2V-5B."
            )
        if found != expected:
            raise UserError(f"{self.origin} is a model for model.name {found}, not {expected}")
        if expert != "both" and not self.two_experts:
            raise UserError(f"{self.origin} has one transformer, and so no {expert}-noise expert; leave model.expert at both")
        if self.two_experts and self.index.get("boundary_ratio") is None:
            raise UserError(f"{self.origin} has two transformers and no boundary_ratio in model_index.json, which parts them")

    def _kind(self) -> Kind | None:
        latents = self.vae.get("z_dim", 16)
        if self.transformer["_class_name"] != "WanTransformer3DModel" or self.transformer.get("pos_embed_seq_len") is not None:
            return None
        beside = self.transformer["in_channels"] - latents  # the number of channels beside the noisy latents
        if beside == 0:
            return "wan-ti2v" if self.index.get("expand_timesteps") else "wan-t2v"
        return "wan-i2v" if beside == latents + self._scale[0] else None

    @property
    def sizes(self) -> SizeRule:
        """The clip sizes that the model can generate."""
        frames, pixels = self._scale
        return SizeRule(frame_step=frames, grid=pixels * int(self.transformer["patch_size"][1]))


def read_configuration(path: Path | str, revision: str | None) -> Configuration:
    """Read the configuration files of a diffusers folder or hub id.

    Args:
        path: The folder or hub id.
        revision: The revision of the hub id, or None for the default one.

    Raises:
        UserError: If there is no such model, or it is not in diffusers' format.
    """
    try:
        return Configuration(
            path,
            index=WanPipeline.load_config(path, revision=revision),
            transformer=WanTransformer3DModel.load_config(path, subfolder="transformer", revision=revision),
            vae=AutoencoderKLWan.load_config(path, subfolder="vae", revision=revision),
        )
    except OSError as error:
        raise UserError(
            f"no Wan model in diffusers' format at {path} (its hub ids end in -Diffusers, such as "
            f"Wan-AI/Wan2.1-T2V-1.3B-Diffusers): {error}"
        ) from None

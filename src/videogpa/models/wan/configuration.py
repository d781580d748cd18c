"""The configuration of a Wan folder: which member of the family it contains, and which sizes that model can generate."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from videogpa.errors import InvalidInput
from videogpa.models.base import Expert
from videogpa.models.folders import INDEX, Family, check_folder, local_folder, read_config, read_index
from videogpa.models.sizes import SizeRule
from videogpa.text_files import cut

Kind = Literal["wan-t2v", "wan-i2v", "wan-ti2v"]
"""The members of the family, by their names in the registry."""


FAMILY = Family(
    "Wan",
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    {
        "tokenizer": ("transformers", "*Tokenizer*"),
        "text_encoder": ("transformers", "UMT5EncoderModel"),
        "vae": ("diffusers", "AutoencoderKLWan"),
        "transformer": ("diffusers", "Wan*Transformer3DModel"),
        "transformer_2": ("diffusers", "WanTransformer3DModel"),
        "scheduler": ("diffusers", "*Scheduler*"),
        "image_encoder": ("transformers", "CLIPVisionModel*"),
        "image_processor": ("transformers", "CLIPImageProcessor*"),
    },
    optional=("transformer_2", "image_encoder", "image_processor"),
)


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
        return self.index.get("transformer_2") not in (None, [None, None])

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
            InvalidInput: If the check fails; the message contains the kind of model that was found.
        """
        found = self._kind()
        if found is None:
            raise InvalidInput(
                f"{self.origin} is a member of the Wan family that is not supported (such as first and last frame, VACE, "
                "Animate). Supported are text-to-video, image-to-video, and Wan2.2 TI2V-5B."
            )
        if found != expected:
            raise InvalidInput(f"{self.origin} is a model for model.name {found}, not {expected}")
        if expert != "both" and not self.two_experts:
            raise InvalidInput(
                f"{self.origin} has one transformer, and so no {expert}-noise expert; leave model.expert at both"
            )
        if self.transformer.get("image_dim") is not None and self.index.get("image_encoder") in (None, [None, None]):
            raise InvalidInput(
                f"{self.origin}: its transformer takes features of the first frame, and there is no image_encoder"
            )
        if self.two_experts and self.index.get("boundary_ratio") is None:
            raise InvalidInput(
                f"{self.origin} has two transformers and no boundary_ratio in model_index.json, which parts them"
            )

    def _kind(self) -> Kind | None:
        latents = self.vae.get("z_dim", 16)
        if (
            self.transformer.get("_class_name", "WanTransformer3DModel") != "WanTransformer3DModel"
            or self.transformer.get("pos_embed_seq_len") is not None
        ):
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
        InvalidInput: If there is no such model, or it is not in diffusers' format.
    """
    folder = local_folder(path, FAMILY, revision=revision)
    index = read_index(folder, FAMILY)
    _check_index(folder, index)
    classes = check_folder(folder, FAMILY)
    transformer, vae = (read_config(folder, name, classes[name]) for name in ("transformer", "vae"))
    for statistic in ("latents_mean", "latents_std"):
        if len(vae[statistic]) != vae["z_dim"]:
            raise InvalidInput(
                f"{folder / 'vae' / 'config.json'}: {statistic} has {len(vae[statistic])} values; expected one for each of the "
                f"{vae['z_dim']} channels (z_dim)"
            )
    return Configuration(path, index=index, transformer=transformer, vae=vae)


def _check_index(folder: Path, index: Mapping[str, Any]) -> None:
    """Check the settings of the pipeline that are in model_index.json.

    Raises:
        InvalidInput: If one is impossible.
    """
    boundary, expand = index.get("boundary_ratio"), index.get("expand_timesteps")
    if boundary is not None and not (isinstance(boundary, float | int) and 0 < boundary < 1):
        raise InvalidInput(f"{folder / INDEX}: boundary_ratio is {cut(repr(boundary), 60)}; expected a number between 0 and 1")
    if expand is not None and not isinstance(expand, bool):
        raise InvalidInput(f"{folder / INDEX}: expand_timesteps is {cut(repr(expand), 60)}; expected true or false")

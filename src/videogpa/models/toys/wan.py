"""Toys of Wan2.1 and Wan2.2 with 0.2 M parameters per transformer, for clips of 32x32 (Wan2.2 TI2V-5B: 64x64) and larger."""

from typing import Any

from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from videogpa.models.toys.common import TEXT_FEATURES, quietly_seeded, tokenizer
from videogpa.models.wan.first_frame import ImageToVideoPipeline

_CHANNELS = 16  # of the latents of Wan2.1 and Wan2.2 A14B
_CHANNELS_5B = 48  # of the latents of Wan2.2 TI2V-5B
_WITH_IMAGE = 2 * _CHANNELS + 4  # noisy latents, image latents, and a mask for each of the 4 frames of a latent frame
_HEADS, _HEAD = 4, 16
_IMAGE_FEATURES, _IMAGE_SIZE = 32, 32


def text_to_video(*, seed: int = 0, flow_shift: float = 3.0) -> WanPipeline:
    """Build a toy of Wan2.1-T2V."""
    with quietly_seeded(seed):
        return WanPipeline(**_shared(_vae(), flow_shift), transformer=_transformer())


def image_to_video(*, seed: int = 0) -> Any:
    """Build a toy of Wan2.1-I2V, which receives its first frame twice: as latents and as CLIP features."""
    with quietly_seeded(seed):
        return ImageToVideoPipeline(
            **_shared(_vae(), flow_shift=3.0),
            transformer=_transformer(_WITH_IMAGE, image_dim=_IMAGE_FEATURES, added_kv_proj_dim=_HEADS * _HEAD),
            image_encoder=_image_encoder(),
            image_processor=CLIPImageProcessorPil(
                size={"shortest_edge": _IMAGE_SIZE}, crop_size={"height": _IMAGE_SIZE, "width": _IMAGE_SIZE}
            ),
        )


def text_image_to_video(*, seed: int = 0) -> WanPipeline:
    """Build a toy of Wan2.2-TI2V-5B, with one timestep per token and a VAE that downsamples by another factor of 2."""
    with quietly_seeded(seed):
        return WanPipeline(
            **_shared(_vae_5b(), flow_shift=5.0),
            transformer=_transformer(_CHANNELS_5B, _CHANNELS_5B),
            expand_timesteps=True,
        )


def two_expert_text_to_video(*, seed: int = 0) -> WanPipeline:
    """Build a toy of Wan2.2-T2V-A14B, with one transformer for high noise levels and another for low ones."""
    with quietly_seeded(seed):
        return WanPipeline(
            **_shared(_vae(), flow_shift=3.0),
            transformer=_transformer(),
            transformer_2=_transformer(),
            boundary_ratio=0.875,  # the published one
        )


def two_expert_image_to_video(*, seed: int = 0) -> Any:
    """Build a toy of Wan2.2-I2V-A14B, which receives its first frame as latents only."""
    with quietly_seeded(seed):
        return ImageToVideoPipeline(
            **_shared(_vae(), flow_shift=3.0),
            transformer=_transformer(_WITH_IMAGE),
            transformer_2=_transformer(_WITH_IMAGE),
            boundary_ratio=0.9,  # the published one
        )


def _shared(vae: AutoencoderKLWan, flow_shift: float) -> dict[str, Any]:
    words = tokenizer()
    text_encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=len(words), d_model=TEXT_FEATURES, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    )
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=flow_shift)
    return {"tokenizer": words, "text_encoder": text_encoder.eval(), "vae": vae.eval(), "scheduler": scheduler}


def _transformer(
    in_channels: int = _CHANNELS,
    out_channels: int = _CHANNELS,
    *,
    image_dim: int | None = None,
    added_kv_proj_dim: int | None = None,
) -> WanTransformer3DModel:
    transformer: WanTransformer3DModel = WanTransformer3DModel(
        num_attention_heads=_HEADS,
        attention_head_dim=_HEAD,
        in_channels=in_channels,
        out_channels=out_channels,
        text_dim=TEXT_FEATURES,
        freq_dim=64,
        ffn_dim=128,
        num_layers=2,
        image_dim=image_dim,
        added_kv_proj_dim=added_kv_proj_dim,
    ).eval()
    return transformer


def _vae() -> AutoencoderKLWan:
    """Return a VAE with the published means and standard deviations of the latents, which are the defaults of the class."""
    return AutoencoderKLWan(base_dim=4, z_dim=_CHANNELS, num_res_blocks=1)


def _vae_5b() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=_CHANNELS_5B,
        num_res_blocks=1,
        is_residual=True,
        patch_size=2,
        in_channels=12,  # 2x2 patches of RGB
        out_channels=12,
        scale_factor_spatial=16,
        latents_mean=[0.02 * i - 0.5 for i in range(_CHANNELS_5B)],
        latents_std=[0.5 + 0.02 * i for i in range(_CHANNELS_5B)],
    )


def _image_encoder() -> CLIPVisionModel:
    config = CLIPVisionConfig(
        hidden_size=_IMAGE_FEATURES,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=_IMAGE_SIZE,
        patch_size=16,
    )
    return CLIPVisionModel(config).eval()

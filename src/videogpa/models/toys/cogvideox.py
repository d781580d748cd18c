"""Toy models of CogVideoX and CogVideoX1.5 with 0.2 M parameters, for clips of 64x64."""

from typing import Any

from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel

from videogpa.models.toys.common import TEXT_FEATURES, TEXT_TOKENS, quietly_seeded, tokenizer

_LATENT_CHANNELS = 16  # as many as the published VAE has


def text_to_video(*, seed: int = 0, rotary: bool = True) -> CogVideoXPipeline:
    """Build a toy of CogVideoX-5B. If `rotary` is false, it has the positions and the schedule of the 2B model."""
    parts = _parts(seed, use_rotary_positional_embeddings=rotary)
    # These are the schedules of the published models; that of the 2B model is shifted towards noise.
    scheduler = _scheduler() if rotary else CogVideoXDDIMScheduler(**_SCHEDULE, snr_shift_scale=3.0)
    return CogVideoXPipeline(**parts, scheduler=scheduler)


def text_to_video_1_5(*, seed: int = 0) -> CogVideoXPipeline:
    """Build a toy of CogVideoX1.5-5B."""
    return CogVideoXPipeline(**_parts(seed, **_VERSION_1_5), scheduler=_scheduler())


def image_to_video(
    *, seed: int = 0, rotary: bool = True, learned_positions: bool = False, invert_scale_latents: bool = False
) -> CogVideoXImageToVideoPipeline:
    """Build a toy of CogVideoX-5B-I2V; other sizes than 64x64 work too, unless positions are learned.

    The 5B model has rotary and learned positions, and does not invert the scale.
    """
    parts = _parts(
        seed,
        invert_scale_latents=invert_scale_latents,
        in_channels=2 * _LATENT_CHANNELS,
        use_rotary_positional_embeddings=rotary,
        use_learned_positional_embeddings=learned_positions,
    )
    return CogVideoXImageToVideoPipeline(**parts, scheduler=_scheduler())


def image_to_video_1_5(*, seed: int = 0) -> CogVideoXImageToVideoPipeline:
    """Build a toy of CogVideoX1.5-5B-I2V."""
    parts = _parts(seed, invert_scale_latents=True, in_channels=2 * _LATENT_CHANNELS, ofs_embed_dim=64, **_VERSION_1_5)
    return CogVideoXImageToVideoPipeline(**parts, scheduler=_scheduler())


_VERSION_1_5: dict[str, Any] = {"patch_size_t": 2, "patch_bias": False, "use_rotary_positional_embeddings": True}

_SCHEDULE: dict[str, Any] = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
}


def _scheduler() -> CogVideoXDPMScheduler:
    """Return the schedule of the 5B models: v-prediction, zero SNR at the last timestep, no shift."""
    return CogVideoXDPMScheduler(**_SCHEDULE, snr_shift_scale=1.0)


def _parts(seed: int, *, invert_scale_latents: bool = False, **architecture: Any) -> dict[str, Any]:
    """Return all components of a pipeline except its scheduler."""
    with quietly_seeded(seed):
        settings = {"in_channels": _LATENT_CHANNELS, **architecture}
        transformer = CogVideoXTransformer3DModel(
            num_attention_heads=4,
            attention_head_dim=16,
            out_channels=_LATENT_CHANNELS,
            time_embed_dim=64,
            text_embed_dim=TEXT_FEATURES,
            num_layers=2,
            sample_width=8,
            sample_height=8,
            sample_frames=9,
            max_text_seq_length=TEXT_TOKENS,
            **settings,
        )
        vae = AutoencoderKLCogVideoX(
            block_out_channels=(4, 8, 8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=_LATENT_CHANNELS,
            sample_height=96,  # a tile is half of it, and a whole multiple of the overlap, which is a sixth of the height
            sample_width=80,  # and a fifth of the width
            scaling_factor=0.7,
            invert_scale_latents=invert_scale_latents,
        )
        words = tokenizer()
        text_encoder = T5EncoderModel(
            T5Config(vocab_size=len(words), d_model=TEXT_FEATURES, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
        )
    return {
        "tokenizer": words,
        "text_encoder": text_encoder.eval(),
        "vae": vae.eval(),
        "transformer": transformer.eval(),
    }

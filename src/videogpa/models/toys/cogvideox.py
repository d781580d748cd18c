"""Miniatures of CogVideoX at 0.2 M parameters and 64x64; other sizes work too, unless positions are learned."""

from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel

from videogpa.models.toys.common import TEXT_FEATURES, TEXT_TOKENS, quietly_seeded, tokenizer

_LATENT_CHANNELS = 16  # the real VAE's


def image_to_video(
    *,
    seed: int = 0,
    rotary: bool = True,
    learned_positions: bool = False,
    ofs_embedding: bool = False,
    invert_scale_latents: bool = False,
) -> CogVideoXImageToVideoPipeline:
    """Build a miniature of CogVideoX-5B-I2V.

    The 5B model has rotary and learned positions, no ofs embedding, and does not invert the scale.
    """
    with quietly_seeded(seed):
        transformer = CogVideoXTransformer3DModel(
            num_attention_heads=4,
            attention_head_dim=16,
            in_channels=2 * _LATENT_CHANNELS,
            out_channels=_LATENT_CHANNELS,
            time_embed_dim=64,
            ofs_embed_dim=64 if ofs_embedding else None,
            text_embed_dim=TEXT_FEATURES,
            num_layers=2,
            sample_width=8,
            sample_height=8,
            sample_frames=9,
            max_text_seq_length=TEXT_TOKENS,
            use_rotary_positional_embeddings=rotary,
            use_learned_positional_embeddings=learned_positions,
        )
        vae = AutoencoderKLCogVideoX(
            block_out_channels=(4, 8, 8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=_LATENT_CHANNELS,
            sample_height=64,
            sample_width=64,
            scaling_factor=0.7,
            invert_scale_latents=invert_scale_latents,
        )
        words = tokenizer()
        text_encoder = T5EncoderModel(
            T5Config(vocab_size=len(words), d_model=TEXT_FEATURES, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
        )
    return CogVideoXImageToVideoPipeline(words, text_encoder.eval(), vae.eval(), transformer.eval(), _scheduler())


def _scheduler() -> CogVideoXDPMScheduler:
    """The schedule of the 5B models: v-prediction, no signal left at the last timestep, no shift."""
    return CogVideoXDPMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
        clip_sample=False,
    )

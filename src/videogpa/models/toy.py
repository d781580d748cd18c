"""Miniature diffusers folders: the real classes at toy size, with random weights that a seed fixes.

They take the code path of the models they stand for, on a CPU in a fraction of a second a clip. What they show is noise.
"""

from collections.abc import Callable
from pathlib import Path
from string import ascii_letters, digits, punctuation

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
)
from diffusers.utils import logging as diffusers_logging
from transformers import T5Config, T5EncoderModel, T5Tokenizer
from transformers.utils import logging as transformers_logging

from videogpa.runs import atomic_folder

_TEXT_FEATURES = 32
_TEXT_TOKENS = 48
_LATENT_CHANNELS = 16  # the real VAE's
_WORDS = (
    *("A", "a", "The", "the", "Everything", "only", "with", "without", "to", "quiet", "still", "room", "few", "objects"),
    *("camera", "stands", "moves", "moving", "orbits", "slides", "turns", "rises", "sinks", "slowly"),
    *("forward", "backward", "left", "right"),
)


def build(name: str, path: Path) -> None:
    """Write the miniature called `name` to the folder `path`, whole or not at all.

    Raises:
        KeyError: If there is no such miniature; the message lists those there are.
    """
    if name not in TOYS:
        raise KeyError(f"no miniature called {name!r}; there are: {', '.join(sorted(TOYS))}")
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    with atomic_folder(path) as temporary:
        TOYS[name]().save_pretrained(temporary)


def cogvideox_image_to_video(
    *,
    seed: int = 0,
    rotary: bool = True,
    learned_positions: bool = False,
    ofs_embedding: bool = False,
    invert_scale_latents: bool = False,
) -> CogVideoXImageToVideoPipeline:
    """Build CogVideoX-5B-I2V at 0.2 M parameters and 64x64; other sizes work too, unless positions are learned.

    The 5B model has rotary and learned positions, no ofs embedding, and does not invert the scale.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = CogVideoXTransformer3DModel(
            num_attention_heads=4,
            attention_head_dim=16,
            in_channels=2 * _LATENT_CHANNELS,
            out_channels=_LATENT_CHANNELS,
            time_embed_dim=64,
            ofs_embed_dim=64 if ofs_embedding else None,
            text_embed_dim=_TEXT_FEATURES,
            num_layers=2,
            sample_width=8,
            sample_height=8,
            sample_frames=9,
            max_text_seq_length=_TEXT_TOKENS,
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
        tokenizer = _tokenizer()
        text_encoder = T5EncoderModel(
            T5Config(vocab_size=len(tokenizer), d_model=_TEXT_FEATURES, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
        )
    return CogVideoXImageToVideoPipeline(tokenizer, text_encoder.eval(), vae.eval(), transformer.eval(), _scheduler())


def _scheduler() -> CogVideoXDPMScheduler:
    """The schedule of the 5B models: v-prediction, no signal left at the last timestep, no shift."""
    return CogVideoXDPMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def _tokenizer() -> T5Tokenizer:
    """Knows the words of the miniature world, and spells out all others."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]  # at the ids that T5 has them
    letters = [(character, -10.0) for character in f"▁{ascii_letters}{digits}{punctuation}"]
    return T5Tokenizer(vocab=[*special, *letters, *((f"▁{word}", -5.0) for word in _WORDS)], extra_ids=0)


TOYS: dict[str, Callable[[], CogVideoXImageToVideoPipeline]] = {
    "cogvideox-i2v": cogvideox_image_to_video,
}

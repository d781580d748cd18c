"""The values that the configurations of a model folder may have, checked before anything of such a size is built."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videogpa.errors import InvalidInput
from videogpa.text_files import cut

_LARGEST = 2_000_000  # of a whole number that has no bound of its own; vocabularies are the largest
_LONGEST_LIST = 4096
_LONGEST_TEXT = 1000

_SIZES: dict[str, int] = {
    **dict.fromkeys(("num_layers", "num_hidden_layers", "num_decoder_layers", "num_res_blocks", "layers_per_block"), 256),
    **dict.fromkeys(("num_attention_heads", "num_heads", "attention_head_dim", "d_kv", "patch_size_t"), 1024),
    **dict.fromkeys(("patch_size", "temporal_compression_ratio", "scale_factor_temporal", "scale_factor_spatial"), 64),
    **dict.fromkeys(("sample_height", "sample_width", "sample_frames", "sample_size"), 1024),
    **dict.fromkeys(("rope_max_seq_len", "pos_embed_seq_len", "max_text_seq_length"), 16384),
    **dict.fromkeys(("in_channels", "out_channels", "latent_channels", "z_dim", "base_dim", "decoder_base_dim"), 16384),
    **dict.fromkeys(("block_out_channels", "dim_mult", "num_channels", "norm_num_groups"), 16384),
    **dict.fromkeys(("time_embed_dim", "text_embed_dim", "text_dim", "freq_dim", "ofs_embed_dim", "image_dim"), 131072),
    **dict.fromkeys(("ffn_dim", "d_model", "d_ff", "hidden_size", "intermediate_size", "added_kv_proj_dim"), 131072),
    **dict.fromkeys(("relative_attention_num_buckets", "relative_attention_max_distance"), 65536),
    "image_size": 4096,
    "vocab_size": _LARGEST,
    "num_train_timesteps": 100_000,
}
"""Sizes, which are at least 1, and the most that they may be: many times those of any published model."""


_POSITIVE = {
    **dict.fromkeys(("eps", "norm_eps", "layer_norm_eps", "layer_norm_epsilon"), 1),
    **dict.fromkeys(("scaling_factor", "latents_std", "flow_shift", "shift", "snr_shift_scale"), 1000),
}
"""Numbers by which something is divided or scaled, and what they are below."""


def check_values(path: Path, config: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Check the values of a configuration.

    Args:
        path: The file that it comes from, for messages.
        config: Its content.
        defaults: The defaults of the class that will be built of it. A value has the type of its default.

    Raises:
        InvalidInput: If a number is not finite, or beyond what any model has, or a value has another type than the default.
    """
    for name, value in config.items():
        if not _same_type(value, defaults.get(name)):
            expected = type(defaults[name]).__name__.replace("tuple", "list")
            raise InvalidInput(f"{path}: {cut(name, 60)} is {cut(repr(value), 60)}; expected a value of type {expected}")
        if name == "patch_size" and value is None:
            continue
        wrong = next(_wrong(name, value), None)
        if wrong is not None:
            raise InvalidInput(f"{path}: {cut(name, 60)} is {cut(repr(value), 60)}; {wrong}")


def _same_type(value: object, default: object) -> bool:
    if default is None:
        return True
    if isinstance(default, list | tuple):
        # Networks take a number in place of a list in some settings.
        values = value if isinstance(value, list) else [value]
        return not default or all(_same_type(each, default[0]) and each is not None for each in values)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, int | float):
        return value is None or isinstance(value, int | float)
    return value is None or isinstance(value, type(default))


def _wrong(name: str, value: object) -> Any:
    """Yield what is wrong with a value."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, list):
        if len(value) > _LONGEST_LIST:
            yield f"expected a list of at most {_LONGEST_LIST} values"
        for each in value:
            yield from _wrong(name, each)
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        yield f"expected at most {_LONGEST_TEXT} characters"
    if isinstance(value, int | float):
        yield from _wrong_number(name, value)


def _wrong_number(name: str, value: int | float) -> Any:
    if name in _SIZES:
        if not 1 <= value <= _SIZES[name] or value != int(value):
            yield f"expected a whole number from 1 to {_SIZES[name]}"
    elif not -_LARGEST <= value <= _LARGEST:
        yield f"expected a number of at most {_LARGEST:,}"
    elif name in _POSITIVE and not 0 < value < _POSITIVE[name]:
        yield f"expected a number above 0 and below {_POSITIVE[name]}"

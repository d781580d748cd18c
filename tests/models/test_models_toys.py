"""Miniature diffusers folders."""

from pathlib import Path

import pytest
from diffusers import CogVideoXImageToVideoPipeline

from videogpa.models import toys
from videogpa.storage.fingerprints import path_fingerprint
from videogpa.world.paths import PATHS
from videogpa.world.words import STATIC


@pytest.mark.parametrize("name", toys.TOYS)
def test_two_builds_are_the_same_bytes(name: str, tmp_path: Path) -> None:
    for place in ("a", "b"):
        toys.build(name, tmp_path / place)
    assert path_fingerprint(tmp_path / "a") == path_fingerprint(tmp_path / "b")


def test_it_is_an_ordinary_folder_of_a_tiny_model(tmp_path: Path) -> None:
    toys.build("cogvideox-i2v", tmp_path / "model")
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(tmp_path / "model")
    assert sum(parameter.numel() for parameter in pipeline.transformer.parameters()) < 1_000_000
    assert len(pipeline.vae.config.block_out_channels) == 4
    assert sum(file.stat().st_size for file in (tmp_path / "model").rglob("*")) < 5_000_000
    assert not list((tmp_path / "model").rglob("*.bin"))


def test_no_prompt_of_the_world_is_cut_off(tmp_path: Path) -> None:
    toys.build("cogvideox-i2v", tmp_path / "model")
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(tmp_path / "model")
    prompts = [f"{STATIC} {sentence}" for _, _, sentence in PATHS.values()]
    lengths = [len(ids) for ids in pipeline.tokenizer(prompts).input_ids]
    assert max(lengths) <= pipeline.transformer.config.max_text_seq_length
    assert len({tuple(ids) for ids in pipeline.tokenizer(prompts).input_ids}) == len(set(prompts))


def test_an_unknown_miniature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="cogvideox-i2v"):
        toys.build("sora", tmp_path / "model")

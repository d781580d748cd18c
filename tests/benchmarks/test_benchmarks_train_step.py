"""The benchmark of a training step: what it counts, and that both sides compute the same."""

from dataclasses import replace
from math import log
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from train_step import Case, our_step, twin_step
from train_step_networks import ARCHITECTURES
from videogpa.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow

SMALL = {
    "cogvideox-5b": {"num_attention_heads": 2, "attention_head_dim": 16, "time_embed_dim": 24, "text_embed_dim": 20},
    "wan2.1-1.3b": {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 40, "text_dim": 20, "freq_dim": 8},
}


@pytest.fixture(params=SMALL)
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    name = request.param
    full = ARCHITECTURES[name]
    small = replace(full, config={**full.config, **SMALL[name]}, latents=(3, 16, 4, 6), text_tokens=5)
    monkeypatch.setitem(ARCHITECTURES, name, small)
    return Case(
        name, layers=3, scale=1.0, device="cpu", dtype="float32", pairs=1, checkpointing=False, rank=4, repeats=1, threads=1
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_networks_are_the_published_ones(name: str) -> None:
    architecture = ARCHITECTURES[name]
    with torch.device("meta"):
        network = architecture.network(**architecture.config)
    assert sum(parameter.numel() for parameter in network.parameters()) == architecture.parameters
    assert round(architecture.parameters / 1e9, 2) == {"cogvideox-5b": 5.57, "wan2.1-1.3b": 1.42}[name]


def test_flops_are_those_that_torch_counts(case: Case, tmp_path: Path) -> None:
    """To the last one, in both modes; attention written out, since torch does not count the fused kernel of a CPU."""
    for together in (True, False):
        take = our_step(case, RunFolder(tmp_path), together=together)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            take(0)
        assert counter.get_total_flops() == case.architecture.pair_flops(case.rank)


def test_the_twin_computes_the_same(case: Case, tmp_path: Path) -> None:
    case = replace(case, pairs=2)
    expected = twin_step(case, RunFolder(tmp_path), together=True)(0)
    assert abs(expected[0] - log(2)) > 1e-3  # the adapter does something
    for together in (True, False):
        for checkpointing in (True, False):
            take = our_step(replace(case, checkpointing=checkpointing), RunFolder(tmp_path), together=together)
            # The loss is beta / 2 = 250 times a difference of errors of about 1, each right to some 1e-7 in float32.
            assert take(0) == pytest.approx(expected, rel=1e-4)


def test_a_reduced_case_says_so() -> None:
    reduced = ARCHITECTURES["cogvideox-5b"].reduced(layers=2, scale=0.2)
    assert (reduced.config["num_layers"], reduced.latents, reduced.text_tokens) == (2, (3, 16, 12, 18), 45)
    assert ARCHITECTURES["cogvideox-5b"].reduced(layers=None, scale=1.0) == ARCHITECTURES["cogvideox-5b"]

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from miniatures.export import MODEL, export
from miniatures.fit import Budget
from miniatures.geometry import GEOMETRY, build_geometry, train_geometry
from miniatures.grow import grow_geometry, grow_transformer
from miniatures.latents import encode_clips
from miniatures.plan import PLANS
from miniatures.transformer import build_pipeline, train_transformer
from miniatures.vae import build_vae, train_vae
from safetensors.torch import load_file
from torch import Generator, Tensor
from torch.nn import init

from miniatures import vae

pytestmark = pytest.mark.slow

NARROW = {"embed_dim": 32, "num_heads": 2, "dpt_features": 16, "dpt_out_channels": (16,) * 4, "camera_heads": 2}
COARSE, FINE = (
    replace(
        plan, vae_widths=(6, 6, 8), clips=4, heads=2, head_width=16, layers=1, batch=2,
        seed=seed, geometry=plan.geometry.model_copy(update=NARROW), geometry_batch=1,
    )
    for seed, plan in enumerate((PLANS["coarse"], PLANS["fine"]))
)  # fmt: skip
CPU = torch.device("cpu")


def enlarged(maps: Tensor) -> Tensor:
    return maps.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_a_grown_transformer_says_of_an_enlarged_clip_what_the_smaller_one_says_of_the_clip() -> None:
    pipelines = [build_pipeline(plan, build_vae(plan)) for plan in (COARSE, FINE)]
    small, grown = (pipeline.transformer for pipeline in pipelines)
    for parameter in small.parameters():  # gates that are open, and an output that is not zero
        init.normal_(parameter, std=0.1, generator=Generator().manual_seed(0))
    grow_transformer(grown, small.state_dict())
    generator = Generator().manual_seed(1)
    latents = torch.randn(2, 3, 2 * COARSE.latent_channels, 8, 8, generator=generator)
    text = torch.randn(2, COARSE.text_tokens, COARSE.text_width, generator=generator)
    turns = [
        pipeline._prepare_rotary_positional_embeddings(side, side, 3, "cpu")
        for pipeline, side in zip(pipelines, (32, 64), strict=True)
    ]
    with torch.no_grad():
        said, said_grown = (
            model(seen, text, torch.tensor([100, 900]), image_rotary_emb=turn).sample
            for model, seen, turn in ((small, latents, turns[0]), (grown, enlarged(latents), turns[1]))
        )
    assert float(said.std()) > 0.1
    torch.testing.assert_close(said_grown, enlarged(said), atol=1e-5, rtol=1e-4)


def test_a_grown_geometry_model_reads_a_plain_colour_as_the_coarser_one_does() -> None:
    coarse = build_geometry(COARSE)
    filters = coarse.aggregator.patch_embed.patch_embed.proj.weight
    filters.data = filters.data.mean((-2, -1), keepdim=True).expand_as(filters).contiguous()  # as smooth as trained ones can be
    grown = build_geometry(FINE)
    grow_geometry(grown, coarse.state_dict())
    means = [
        model.aggregator.patch_embed.patch_embed.proj(torch.full((1, 3, side, side), 0.7))
        for model, side in ((coarse, 56), (grown, 64))
    ]
    assert means[1].shape[-1] == 2 * means[0].shape[-1]
    torch.testing.assert_close(means[1][..., 0, 0], means[0][..., 0, 0], atol=1e-5, rtol=1e-4)
    codes = [model.aggregator.patch_embed.pos_embed for model in (coarse, grown)]
    torch.testing.assert_close(codes[1][:, 0], codes[0][:, 0])
    assert codes[1].shape[1] - 1 == 4 * (codes[0].shape[1] - 1)
    torch.testing.assert_close(grown.camera_head.state_dict(), coarse.camera_head.state_dict())


def test_a_making_goes_on_from_what_a_coarser_one_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of training changes no weight by more than the rate, and a model of another seed would differ by far more."""
    monkeypatch.setattr(vae, "SCALED_ON", 8)
    for plan, out, start in ((COARSE, tmp_path / "coarse", None), (FINE, tmp_path / "fine", tmp_path / "coarse")):
        out.mkdir()
        train_vae(plan, out, Budget(steps=1), CPU, start and start / "vae")
        encode_clips(plan, out, CPU)
        train_transformer(plan, out, Budget(steps=1), CPU, start and start / MODEL)
        export(out)
        train_geometry(plan, out, Budget(steps=1), CPU, start and start / GEOMETRY)
    for folder, name, weight in (
        ("vae", "diffusion_pytorch_model.safetensors", "decoder.mid_block.resnets.0.conv1.conv.weight"),
        (f"{MODEL}/transformer", "diffusion_pytorch_model.safetensors", "transformer_blocks.0.attn1.to_q.weight"),
        (GEOMETRY, "model.safetensors", "aggregator.frame_blocks.0.attn.qkv.weight"),
    ):
        before, after = (load_file(tmp_path / making / folder / name)[weight].float() for making in ("coarse", "fine"))
        assert float((after - before).abs().max()) < 0.004
        assert float(before.std()) > 0.01

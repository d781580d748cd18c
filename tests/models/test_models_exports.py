"""Exports: loaded back by diffusers itself, and by ComfyUI's rule written out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from peft import PeftModel
from safetensors.torch import load_file
from torch.nn import Module, ModuleDict
from torch.testing import assert_close

from videogpa.errors import UserError
from videogpa.models.adapters import adapted, new_adapter, save_adapter
from videogpa.models.exports import export_adapter
from videogpa.models.toys import cogvideox as toys

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
RANK, ALPHA = 4, 6  # a strength that is no power of two


def trained(network: Module) -> PeftModel:
    adapter = new_adapter(network, targets=TARGETS, rank=RANK, alpha=ALPHA, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return adapter


def exported(network: Module, folder: Path) -> Path:
    folder.mkdir()
    adapter = trained(network)
    save_adapter(adapter, folder)
    export_adapter(folder)
    adapter.unload()
    return folder


def wan(seed: int) -> Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: Module = WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8, freq_dim=16, ffn_dim=32,
            num_layers=2, rope_max_seq_len=32,
        )  # fmt: skip
    return network.requires_grad_(False).eval()


def forward(network: Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        output: torch.Tensor = network(
            hidden_states=torch.randn(1, 4, 2, 4, 4, generator=generator),
            timestep=torch.tensor([500]),
            encoder_hidden_states=torch.randn(1, 3, 8, generator=generator),
            return_dict=False,
        )[0]
    return output


def pipeline(first: Module, second: Module | None = None) -> WanPipeline:
    scheduler = FlowMatchEulerDiscreteScheduler()
    return WanPipeline(None, None, None, scheduler, transformer=first, transformer_2=second, boundary_ratio=0.9)


@pytest.mark.parametrize("build", [toys.text_to_video, toys.text_to_video_1_5])
def test_diffusers_makes_the_same_video(build: Callable[[], object], tmp_path: Path) -> None:
    pipe = build()
    pipe.set_progress_bar_config(disable=True)  # type: ignore[attr-defined]
    folder = exported(pipe.transformer.requires_grad_(False), tmp_path / "adapter")  # type: ignore[attr-defined]

    def video() -> torch.Tensor:
        frames: torch.Tensor = pipe(  # type: ignore[operator]
            prompt="A quiet room", height=32, width=32, num_frames=9, num_inference_steps=2, guidance_scale=1.0,
            max_sequence_length=48, generator=torch.Generator().manual_seed(0), output_type="pt",
        ).frames[0]  # fmt: skip
        return frames

    base = video()
    with adapted(pipe.transformer, folder):  # type: ignore[attr-defined]
        ours = video()
    assert (ours - base).abs().max() > 1e-3
    pipe.load_lora_weights(folder / "diffusers")  # type: ignore[attr-defined]
    assert_close(video(), ours, rtol=1e-4, atol=1e-5)


def test_wan_is_read_by_diffusers_from_either_export(tmp_path: Path) -> None:
    """Diffusers reads files that name Wan's layers as ComfyUI does, too: a trusted reader of that export."""
    network = wan(0)
    base = forward(network)
    folder = exported(network, tmp_path / "adapter")
    with adapted(network, folder):
        expected = forward(network)
    assert (expected - base).abs().max() > 1e-3
    for place in (folder / "diffusers", folder / "comfyui/transformer.safetensors"):
        pipe = pipeline(wan(0))
        pipe.load_lora_weights(place)
        assert_close(forward(pipe.transformer), expected, rtol=1e-4, atol=1e-5)


def test_two_experts_are_two_files(tmp_path: Path) -> None:
    experts = ModuleDict({"transformer": wan(0), "transformer_2": wan(1)})
    folder = exported(experts, tmp_path / "adapter")
    with adapted(experts, folder):
        expected = [forward(network) for network in experts.values()]
    assert sorted(path.name for path in (folder / "comfyui").iterdir()) == [
        "transformer.safetensors",
        "transformer_2.safetensors",
    ]
    pipe = pipeline(wan(0), wan(1))
    pipe.load_lora_weights(folder / "diffusers")
    pipe.load_lora_weights(folder / "diffusers/transformer_2", load_into_transformer_2=True)
    for network, output in zip((pipe.transformer, pipe.transformer_2), expected, strict=True):
        assert_close(forward(network), output, rtol=1e-4, atol=1e-5)


def test_comfyui_finds_every_layer_of_cogvideox(tmp_path: Path) -> None:
    """Its rule, from comfy/lora.py: `diffusion_model.<layer>` takes W + alpha / rank B A, rank the rows of A."""
    network = toys.text_to_video().transformer.requires_grad_(False)
    merged = trained(network).merge_and_unload()
    plain = toys.text_to_video().transformer
    file = load_file(exported(toys.text_to_video().transformer, tmp_path / "adapter") / "comfyui/transformer.safetensors")
    theirs = {"q": "to_q", "k": "to_k", "v": "to_v", "attn_out": "to_out.0"}  # comfy/ldm/cogvideo/model.py
    used = set()
    for block in range(2):
        for name, ours in theirs.items():
            key = f"diffusion_model.blocks.{block}.{name}"
            down, up, alpha = (file[f"{key}.{part}"] for part in ("lora_A.weight", "lora_B.weight", "alpha"))
            used |= {f"{key}.{part}" for part in ("lora_A.weight", "lora_B.weight", "alpha")}
            layer = f"transformer_blocks.{block}.attn1.{ours}"
            change = alpha / down.shape[0] * up @ down
            assert_close(plain.get_submodule(layer).weight + change, merged.get_submodule(layer).weight, rtol=1e-4, atol=1e-5)
    assert used == set(file)


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no adapter"):
        export_adapter(tmp_path)

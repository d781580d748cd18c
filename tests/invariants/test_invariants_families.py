"""Every family trains: two steps from its own clips, with both sides, and its adapter is written for all programs."""

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from toys import encoded_run, toy_recipe
from videogpa.models.adapters import adapted
from videogpa.models.loading import load_model
from videogpa.stages import train

FAMILIES = {"cogvideox1.5-t2v": "cogvideox-t2v", "wan2.2-ti2v": "wan-ti2v", "wan2.2-t2v-a14b": "wan-t2v"}


@pytest.mark.slow
@pytest.mark.parametrize("toy", FAMILIES)
def test_a_family_trains_and_its_exports_are_whole(toy: str, tmp_path: Path) -> None:
    recipe = toy_recipe(
        prompts={"world": {"train": 2, "held_out": 2, "frames": 9, "height": 32, "width": 32}},
        model={"name": FAMILIES[toy], "path": f"toy:{toy}"},
        train={
            "steps": 3,
            "warmup_steps": 0,
            "loss": "dpo+sft",
            "static_weight": 0.1,
            "gradient_checkpointing": True,
            "joint_forward": False,
        },
    )
    folder = encoded_run(tmp_path / "run", recipe)
    adapter = train.run(recipe, folder)
    trained = load_file(adapter / "adapter_model.safetensors")
    moved = [name for name, tensor in trained.items() if "lora_B" in name and tensor.abs().max() > 0]
    assert moved
    model = load_model(recipe.model, folder, parts=("transformer",))
    with adapted(model.transformer, adapter):
        ours = merged(model.transformer)
    pipeline = DiffusionPipeline.from_pretrained(folder / "model" / toy)
    pipeline.load_lora_weights(adapter / "diffusers")
    theirs = {f"transformer.{name}": weight for name, weight in merged(pipeline.transformer).items()}
    if (adapter / "diffusers/transformer_2").exists():
        pipeline.load_lora_weights(adapter / "diffusers/transformer_2", load_into_transformer_2=True)
        theirs |= {f"transformer_2.{name}": weight for name, weight in merged(pipeline.transformer_2).items()}
    else:
        ours = {f"transformer.{name}": weight for name, weight in ours.items()}
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, rtol=1e-4, atol=1e-6)


def merged(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What every adapted layer adds to its weight, by the layer's name; of one adapter, whatever it is called."""
    found = {}
    for name, layer in network.named_modules():
        if hasattr(layer, "get_delta_weight"):
            (adapter,) = layer.lora_A
            found[name.removeprefix("base_model.model.")] = layer.get_delta_weight(adapter).detach().clone()
    return found

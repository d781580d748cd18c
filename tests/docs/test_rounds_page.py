"""The code of docs/how-to/rounds.md, as it stands there, on a toy folder of the real classes."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch.nn import Module
from torch.testing import assert_close

from toys import toy_recipe
from videogpa.errors import UserError
from videogpa.models import toys
from videogpa.models.adapters import new_adapter, save_adapter
from videogpa.models.cogvideox import CogVideoXTextToVideo
from videogpa.models.exports import export_adapter
from videogpa.records import Latents
from videogpa.stages import train
from videogpa.storage.run_folder import RunFolder
from videogpa.storage.tensors import save_tensors
from videogpa.training.data import EncodedPair

PAGE = Path("docs/how-to/rounds.md").read_text(encoding="utf-8")


def adapter_for(model: Path, run: Path, seed: int) -> None:
    """Write an adapter with an effect, and its exports, as a training does."""
    network = DiffusionPipeline.from_pretrained(model).transformer.requires_grad_(False)
    adapter = new_adapter(network, targets=CogVideoXTextToVideo.lora_targets, rank=4, alpha=8, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    folder = run / "adapter"
    folder.mkdir(parents=True)
    save_adapter(adapter, folder)
    export_adapter(folder)


def prediction(network: Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        output: torch.Tensor = network(
            hidden_states=torch.randn(1, 3, 16, 8, 8, generator=generator),
            encoder_hidden_states=torch.randn(1, 48, 32, generator=generator),
            timestep=torch.tensor([500]),
            return_dict=False,
        )[0]
    return output


def run_block(block: str, places: Mapping[str, str]) -> Any:
    """Run a block of the page's code with other paths, and return its `pipe`."""
    for there, here in {**places, "torch.bfloat16": "torch.float32"}.items():
        assert there in block
        block = block.replace(there, here)
    names: dict[str, Any] = {}
    exec(block, names)
    return names["pipe"]


@pytest.mark.filterwarnings("ignore")  # diffusers and PEFT warn of one another's versions
def test_two_rounds_are_the_sum_that_the_page_promises(tmp_path: Path) -> None:
    merge, both = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    base, merged = tmp_path / "base", tmp_path / "merged"
    toys.build("cogvideox-t2v", base)
    adapter_for(base, tmp_path / "one", seed=1)
    places = {
        "zai-org/CogVideoX-5b-I2V": str(base),
        "runs/one": str(tmp_path / "one"),
    }
    run_block(merge, {**places, "models/merged": str(merged)})
    adapter_for(merged, tmp_path / "two", seed=2)

    untouched = DiffusionPipeline.from_pretrained(base)
    second = DiffusionPipeline.from_pretrained(merged)  # the reference of the second round: the first one's policy
    untouched.load_lora_weights(tmp_path / "one" / "adapter" / "diffusers")
    first_policy = prediction(untouched.transformer)
    assert_close(prediction(second.transformer), first_policy, rtol=1e-3, atol=1e-4)
    second.load_lora_weights(tmp_path / "two" / "adapter" / "diffusers")
    expected = prediction(second.transformer)
    together = run_block(both, {**places, "runs/two": str(tmp_path / "two")})
    assert (expected - first_policy).abs().max() > 1e-2
    assert_close(prediction(together.transformer), expected, rtol=1e-3, atol=1e-4)


def test_training_says_that_it_does_not_know_the_adapter_of_the_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so before it loads anything, and not of a training that is finished."""
    recipe = toy_recipe(generate={"adapter": str(tmp_path / "one")})
    for name in ("0.safetensors", "1.safetensors", "p.safetensors"):
        save_tensors({"latents": torch.zeros(1)}, tmp_path / "run" / name, fingerprint="x")
    rows = [Latents(clip=f"p/{seed}", prompt="p", path=f"{seed}.safetensors", condition="p.safetensors") for seed in (0, 1)]
    monkeypatch.setattr(train, "read_pairs", lambda *_: [EncodedPair(*rows)])
    monkeypatch.setattr(train, "_new_trainer", lambda *_: (_ for _ in ()).throw(UserError("not here")))
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="not here"):
        train.run(recipe, RunFolder(tmp_path / "run"))
    assert "candidates were made with generate.adapter" in caplog.text
    assert "docs/how-to/rounds.md" in caplog.text

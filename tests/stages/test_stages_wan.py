"""The stages with a model of two experts and a first frame: prompts, clips, latents, adapter, aligned clips."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from toys import run_all, toy_recipe
from videogpa.models.adapters import WEIGHTS_FILE, adapted
from videogpa.models.base import Sampling
from videogpa.models.loading import load_model
from videogpa.models.requests import request_for
from videogpa.storage.manifests import prompts
from videogpa.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow


def test_the_loop_runs_on_the_low_noise_expert(tmp_path: Path) -> None:
    model = {"name": "wan-i2v", "path": "toy:wan2.2-i2v-a14b", "expert": "low"}
    world = {"train": 1, "held_out": 2, "frames": 9, "height": 32, "width": 32}
    recipe = toy_recipe(model=model, prompts={"world": world}, train={"steps": 2, "held_out": 0})
    run_all(tmp_path, recipe)
    weights = load_file(tmp_path / "adapter" / WEIGHTS_FILE)
    learnt = {name.split(".")[2] for name, weight in weights.items() if "lora_B" in name and weight.abs().max() > 0}
    assert learnt == {"transformer_2"}
    folder = RunFolder(tmp_path)
    loaded = load_model(recipe.model, folder)
    request = request_for(prompts(folder).rows()[0], 0, folder.path)
    sampling = Sampling(frames=9, height=32, width=32, num_inference_steps=2, guidance_scale=5.0)
    [base] = loaded.generate([request], sampling)
    with adapted(loaded.transformer, tmp_path / "adapter"):
        [aligned] = loaded.generate([request], sampling)
    [again] = loaded.generate([request], sampling)
    assert not torch.equal(aligned.video, base.video)
    assert torch.equal(again.video, base.video)

    # The export makes the same clip in diffusers' own pipeline, which has one adapter file for each expert.
    loaded._pipeline.load_lora_weights(tmp_path / "adapter" / "diffusers" / "transformer_2", load_into_transformer_2=True)
    [exported] = loaded.generate([request], sampling)
    assert_close(exported.video, aligned.video, rtol=0, atol=1e-5)

"""The judges clip and aesthetic: their numbers against VBench's formulas computed anew, and against transformers' processor."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from judge_toys import clip_folder
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate
from transformers import CLIPModel, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from videogpa.errors import UserError
from videogpa.judges.aesthetic import HEAD, AestheticJudge
from videogpa.judges.base import of_frames
from videogpa.judges.clip import ClipJudge
from videogpa.judges.images import CLIP, centre, normalised, short_side

FRAMES = torch.rand(5, 3, 36, 50, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_folder(tmp_path_factory.mktemp("clip"))


def embedded(folder: Path) -> torch.Tensor:
    """CLIP's embeddings of the frames by VBench's transform, in values of 0 to 255, and by the whole model."""
    small = interpolate(255 * FRAMES, (32, 44), mode="bicubic", align_corners=False, antialias=False)[:, :, :, 6:38]
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = (small / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        found = CLIPModel.from_pretrained(folder).eval().get_image_features(pixel_values=pixels).pooler_output
    return torch.nn.functional.normalize(found, dim=-1)


def test_background_consistency_is_that_of_vbenchs_formula(folder: Path) -> None:
    features = embedded(folder)
    total = 0.0
    for i in range(1, 5):
        total += sum(max(0.0, float(features[i] @ features[j])) for j in (0, i - 1)) / 2
    judge = ClipJudge(folder)
    assert judge.judge(of_frames(FRAMES, fps=8.0)) == {"background_consistency": pytest.approx(total / 4, abs=2e-6)}
    assert 0 < total / 4 < 0.9999
    assert judge.details["patch"] == "8"


def test_aesthetic_quality_is_a_tenth_of_the_heads_mean_rating(folder: Path) -> None:
    ratings = embedded(folder) @ torch.linspace(-1, 1, 16) + 5
    found = AestheticJudge(folder).judge(of_frames(FRAMES, fps=8.0))
    assert found == {"aesthetic_quality": pytest.approx(float(ratings.mean()) / 10, abs=2e-6)}
    assert AestheticJudge(folder).judge(of_frames(FRAMES[:1], fps=8.0))["aesthetic_quality"] == pytest.approx(
        float(ratings[0]) / 10, abs=2e-6
    )


def test_crop_and_range_are_those_of_transformers_own_processor() -> None:
    """Its resizing, with antialiasing in 8 bits, is not VBench's: of frames of the right size nothing is resized."""
    frames = (255 * torch.rand(2, 3, 32, 50)).round()
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pictures = [frame.permute(1, 2, 0).numpy().astype(np.uint8) for frame in frames]
    theirs = torch.from_numpy(np.stack(processor(pictures)["pixel_values"]))
    ours = normalised(centre(short_side(frames / 255, 32, "bicubic"), 32), CLIP)
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)


def test_the_image_encoder_alone_is_read_as_well(folder: Path, tmp_path: Path) -> None:
    CLIPVisionModelWithProjection.from_pretrained(folder).save_pretrained(tmp_path)
    clip = of_frames(FRAMES, fps=8.0)
    assert ClipJudge(tmp_path).judge(clip) == ClipJudge(folder).judge(clip)


def test_a_head_that_is_missing_or_of_another_size_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*gone, the head of the aesthetic predictor"):
        AestheticJudge(folder, head=str(tmp_path / "gone"))
    save_file({"weight": torch.zeros(1, 768), "bias": torch.zeros(1)}, tmp_path / HEAD)
    with pytest.raises(UserError, match=r"is no head for 16 numbers"):
        AestheticJudge(folder, head=str(tmp_path / HEAD))


def test_a_config_of_another_clip_is_refused(folder: Path, tmp_path: Path) -> None:
    save_file(load_file(folder / "model.safetensors"), tmp_path / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"unexpected: vision_model\.encoder.layers.1"):
        ClipJudge(tmp_path)

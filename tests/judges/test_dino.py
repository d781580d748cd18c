"""The judge dino: its numbers against VBench's formula computed anew, its rows, and what is refused of its folder."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from attempts import run_shell
from judge_toys import VIT, rewrite, vit_folder
from safetensors.torch import load_file
from torch.nn.functional import interpolate
from transformers import ViTModel

import videogpa
from videogpa.errors import UserError
from videogpa.judges.base import CannotJudge, JudgedClip, of_file, of_frames
from videogpa.judges.consistency import consistency
from videogpa.judges.dino import DinoJudge
from videogpa.judges.images import centre, short_side
from videogpa.records import Judgement
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.video import read_frames, write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vit_folder(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("clips")
    noise = torch.rand(6, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    write_video(into / "noise.mkv", noise, fps=8)
    write_video(into / "still.mkv", noise[:1].repeat(6, 1, 1, 1), fps=8)
    write_video(into / "one.mkv", noise[:1], fps=8)
    (into / "torn.mp4").write_bytes(b"no video")
    return into


def by_vbench(frames: torch.Tensor, folder: Path) -> float:
    """VBench's subject consistency in its own order of steps: one frame at a time, in values of 0 to 255."""
    network = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    height, width = frames.shape[2:]
    small = interpolate(255 * frames, (32, 32 * width // height), mode="bilinear", align_corners=False, antialias=False)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    small = (small.float().div(255) - mean[:, None, None]) / std[:, None, None]
    total, first, former = 0.0, None, None
    for frame in small:
        with torch.no_grad():
            found = network(frame[None], interpolate_pos_encoding=True).last_hidden_state[:, 0]
        found = torch.nn.functional.normalize(found, dim=-1)
        if first is None:
            first = found
        else:
            cosines = [max(0.0, torch.cosine_similarity(other, found).item()) for other in (former, first)]
            total += sum(cosines) / 2
        former = found
    return total / (len(frames) - 1)


def test_the_number_is_that_of_vbenchs_formula(folder: Path, clips: Path) -> None:
    judge = DinoJudge(folder, device="cpu")
    found = judge.judge(of_file(clips / "noise.mkv"))
    assert found == {"subject_consistency": pytest.approx(by_vbench(read_frames(clips / "noise.mkv"), folder), abs=2e-6)}
    assert 0 < found["subject_consistency"] < 0.9999
    assert judge.judge(of_file(clips / "still.mkv"))["subject_consistency"] == pytest.approx(1, abs=1e-5)  # but for the codec
    assert judge.details["sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_clip_in_parts_has_the_number_of_the_whole(folder: Path) -> None:
    frames = torch.rand(70, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    clip = of_frames(frames, fps=8.0)
    assert [len(part) for part in clip.parts()] == [32, 32, 6]
    assert DinoJudge(folder).judge(clip)["subject_consistency"] == pytest.approx(by_vbench(frames, folder), abs=2e-6)
    large = JudgedClip(3, 8.0, 4096, 8192, None, lambda indices: torch.zeros(len(indices), 3, 1, 1))
    assert [len(part) for part in large.parts()] == [1, 1, 1]


def test_consistency_counts_opposite_features_as_zero_and_needs_two_frames() -> None:
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]])
    assert consistency(features) == 0
    assert consistency(torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])) == pytest.approx((0.5**0.5 + (0.5**0.5 + 1) / 2) / 2)
    with pytest.raises(CannotJudge, match="one frame"):
        consistency(features[:1])


def test_frames_are_resized_and_cropped_by_the_rules_of_torchvision() -> None:
    frames = torch.rand(1, 3, 45, 80)
    assert short_side(frames, 32, "bicubic").shape == (1, 3, 32, 56)  # int(32 * 80 / 45)
    assert short_side(frames.transpose(2, 3), 32, "bilinear").shape == (1, 3, 56, 32)
    assert torch.equal(centre(frames, 45), frames[:, :, :, 18:63])  # int(round(17.5)): half to even


def test_every_clip_has_a_row_and_nothing_is_judged_twice(folder: Path, clips: Path, tmp_path: Path) -> None:
    command = ("judge", str(clips), "--judge", f"dino={folder}", "--judge", "dino.device=cpu", "--out", str(tmp_path / "out"))
    ran = run_shell(*command)
    assert ran.status == 0, ran.err
    assert "facebook/dino-vitb16: Apache-2.0, 0.34 GB" in " ".join(ran.err.split())  # of the published weights
    rows = {Path(row.clip).name: row for row in manifests.judgements(RunFolder(tmp_path / "out")).rows()}
    assert {name: row.status for name, row in rows.items()} == {
        "noise.mkv": "ok", "one.mkv": "declined", "still.mkv": "ok", "torn.mp4": "unreadable",
    }  # fmt: skip
    assert rows["noise.mkv"].numbers["subject_consistency"] < rows["still.mkv"].numbers["subject_consistency"]
    assert rows["one.mkv"].reason == "the clip has one frame, and consistency is that of two or more"
    assert "one.mkv: the clip has one frame" in ran.out
    assert (tmp_path / "out/judgements.csv").read_text().count("subject_consistency") == 2

    assert run_shell(*command).status == 0
    seconds = {Path(row.clip).name: row.seconds for row in manifests.judgements(RunFolder(tmp_path / "out")).rows()}
    assert seconds["noise.mkv"] == rows["noise.mkv"].seconds


def test_other_weights_under_the_same_name_make_the_rows_again(clips: Path, tmp_path: Path) -> None:
    def judged(seed: int) -> Judgement:
        own = vit_folder(tmp_path / "vit", seed=seed)
        return videogpa.judge_files([clips / "noise.mkv"], judge={"dino": str(own)}, out=tmp_path / "out")[0]

    first, second = judged(0), judged(1)
    assert first.numbers != second.numbers
    assert first.details["sha256"] != second.details["sha256"]
    assert judged(1) == second


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["dino"], "facebook/dino-vitb16, which is then fetched (0.34 GB, Apache-2.0)"),
        (["dinosaur=x"], "one of: aesthetic, clip, dino, videoreward"),
        (["dino=here", "dino.side=3"], "side: Extra inputs"),
        (["dino=./nothing/here"], "no weights at ./nothing/here"),
        ([], "name a judge and its weights"),
    ],
)
def test_a_judge_without_weights_or_of_another_name_is_refused_before_anything_is_read(
    flags: list[str], says: str, clips: Path, tmp_path: Path
) -> None:
    given = [part for flag in flags for part in ("--judge", flag)]
    ran = run_shell("judge", str(clips), *given, "--out", str(tmp_path / "out"))
    assert ran.status == 1
    assert says in " ".join(ran.err.split())
    assert not (tmp_path / "out/judgements.jsonl").exists()


def test_what_a_hub_id_names_is_not_fetched_where_the_hub_is_offline(clips: Path, tmp_path: Path) -> None:
    ran = run_shell("judge", str(clips), "--judge", "dino=facebook/dino-vitb16", "--out", str(tmp_path / "out"))
    assert ran.status == 1
    assert "facebook/dino-vitb16 is not on this machine" in " ".join(ran.err.split())


NAN = torch.full((1, 1, 32), float("nan"))


@pytest.mark.parametrize(
    ("config", "tensors", "says"),
    [
        ({"intermediate_size": 80}, {}, "of another shape"),
        ({"num_hidden_layers": 3}, {}, "missing"),
        ({"num_hidden_layers": 1}, {}, "unexpected"),
        ({"hidden_size": 65_536, "num_hidden_layers": 256}, {}, "it is of another model"),
        ({"hidden_act": "__import__"}, {}, "hidden_act"),
        ({"num_attention_heads": 5}, {}, "multiple of num_attention_heads"),
        ({}, {"embeddings.cls_token": NAN}, "holds NaN"),
        ({}, {"embeddings.cls_token": None}, "missing"),
        ({}, {"of.another": torch.zeros(2)}, "unexpected: of.another"),
    ],
)
def test_a_folder_that_does_not_fit_is_named_in_a_sentence(
    config: dict[str, object], tensors: dict[str, torch.Tensor | None], says: str, tmp_path: Path
) -> None:
    own = vit_folder(tmp_path / "vit")
    (own / "config.json").write_text(json.dumps({**VIT, **config}))
    if tensors:
        rewrite(own, tensors)
    with pytest.raises(UserError, match=says):
        DinoJudge(own)


def test_names_of_earlier_and_later_transformers_give_the_same_numbers(folder: Path, clips: Path, tmp_path: Path) -> None:
    own = vit_folder(tmp_path / "vit")
    saved = load_file(own / "model.safetensors")
    assert "encoder.layer.0.attention.attention.query.weight" in saved  # as transformers 4 names it
    network = ViTModel.from_pretrained(own)
    renamed = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert "layers.0.attention.q_proj.weight" in renamed  # as the class itself names it
    rewrite(own, {**dict.fromkeys(saved), **renamed})
    assert DinoJudge(own).judge(of_file(clips / "noise.mkv")) == DinoJudge(folder).judge(of_file(clips / "noise.mkv"))

"""evaluate: base against an adapter that is given, at several strengths, without any training."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console
from safetensors.torch import load_file, save_file

from toys import toy_recipe
from videogpa import pipeline
from videogpa.cli import run_commands, summary
from videogpa.config import EvaluateConfig, Recipe
from videogpa.errors import UserError
from videogpa.findings import Evaluation
from videogpa.models.adapters import adapter_fingerprint, new_adapter, save_adapter
from videogpa.models.exports import export_adapter
from videogpa.models.toys import cogvideox
from videogpa.stages import report
from videogpa.stages.evaluate import aligned_folder
from videogpa.stages.generate import Adapter, make_clips
from videogpa.stages.paired import compare_scores
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.workers import open_pool


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published adapter, as a single file of diffusers, strong enough to change every pixel."""
    folder = tmp_path_factory.mktemp("published")
    network = cogvideox.image_to_video().transformer.requires_grad_(False)
    made = new_adapter(network, targets=("to_q", "to_v"), rank=4, alpha=8, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=generator)
    save_adapter(made, folder)
    export_adapter(folder)
    return folder / "diffusers/pytorch_lora_weights.safetensors"


def recipe(adapter: Path, *scales: float) -> Recipe:
    given = {"critics": ("oracle",), "seeds": 1, "adapter": adapter, "adapter_scale": scales}
    return toy_recipe(score={"frames": 9}, evaluate=given)


@pytest.fixture(scope="module")
def evaluated(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Evaluation]:
    folder = RunFolder(tmp_path_factory.mktemp("run") / "run")
    return folder, run_commands.evaluate(recipe(adapter, 0.5, 1.0), out=folder.path)


Evaluated = tuple[RunFolder, Evaluation]


def clips(folder: RunFolder) -> dict[str, bytes]:
    return {str(file.relative_to(folder.path)): file.read_bytes() for file in (folder.path).rglob("*.mp4")}


def test_nothing_but_prompts_and_an_evaluation_is_made(evaluated: Evaluated, adapter: Path) -> None:
    folder, _ = evaluated
    name = f"adapter-{adapter_fingerprint(adapter)[:8]}"
    assert sorted(path.name for path in (folder / "evaluation").iterdir()) == [name, f"{name}-0.5", "base"]
    assert not any((folder / name).exists() for name in ("clips.jsonl", "pairs.jsonl", "latents.jsonl", "train", "adapter"))


def test_each_strength_is_compared_with_the_same_base(evaluated: Evaluated, adapter: Path) -> None:
    folder, evaluation = evaluated
    assert evaluation.adapter == str(adapter)
    assert list(evaluation.strengths()) == [0.5, 1.0]
    base = manifests.scores(folder.subfolder("evaluation/base")).rows()
    for scale, critics in evaluation.strengths().items():
        aligned = manifests.scores(folder.subfolder(aligned_folder(scale, evaluation.adapter_fingerprint))).rows()
        assert critics["oracle"] == compare_scores(base, aligned, chose_pairs=False)
    assert Evaluation.model_validate_json((folder / "evaluation.json").read_bytes()) == evaluation
    pixels = clips(folder)
    assert len(pixels) == len(set(pixels.values())) == 6  # two scenes: base, half and full strength


def test_a_strength_is_that_of_generating(evaluated: Evaluated, adapter: Path, tmp_path: Path) -> None:
    folder, evaluation = evaluated
    half = folder / aligned_folder(0.5, evaluation.adapter_fingerprint)
    prompts = [prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "held_out"]
    settings = recipe(adapter, 1.0)
    with open_pool(settings.workers) as pool:
        given = Adapter(adapter, 0.5)
        rows = make_clips(prompts, [1_000_000], settings, folder, pool, into=RunFolder(tmp_path), adapter=given)
    for row in rows:
        assert (tmp_path / row.path).read_bytes() == (half / row.path).read_bytes()


def test_another_adapter_keeps_the_clips_of_the_first(evaluated: Evaluated, adapter: Path, tmp_path: Path) -> None:
    folder = RunFolder(Path(shutil.copytree(evaluated[0].path, tmp_path / "run")))
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.mp4")}
    other = tmp_path / "other.safetensors"
    weights = {name: 0.5 * tensor if "lora_B" in name else tensor for name, tensor in load_file(adapter).items()}
    save_file(weights, other)
    run_commands.evaluate(recipe(other, 1.0), out=folder.path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    made = set(folder.path.rglob("*.mp4")) - before.keys()
    half = {path for path in before if path.relative_to(folder.path).parts[1].endswith("-0.5")}
    assert pixels(made) == pixels(half)  # half of every B is half the strength


def pixels(paths: set[Path]) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}


def test_another_strength_keeps_all_clips_that_are_there(
    adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path / "run")
    one = run_commands.evaluate(recipe(adapter, 1.0), out=folder.path)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.mp4")}
    assert len(before) == 4
    caplog.clear()
    both = run_commands.evaluate(recipe(adapter, 1.0, 0.25), out=folder.path)
    assert caplog.text.count("(strength 1) is assumed") == 1  # once, whatever the number of strengths
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert both.critics == one.critics
    assert len(list(folder.path.rglob("*.mp4"))) == 6


def test_one_strength_reads_as_it_always_did(evaluated: Evaluated) -> None:
    _, evaluation = evaluated
    old = json.dumps({"critics": {"oracle": evaluation.critics["oracle"].model_dump()}})
    read = Evaluation.model_validate_json(old)
    assert read.strengths() == {1.0: evaluation.critics}
    assert read.label(1.0) == ""
    assert printed(read)[0] == "critic oracle (did not choose the training pairs)"


def printed(evaluation: Evaluation) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=80).print(summary.evaluation(evaluation))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_the_terminal_has_a_table_for_each_strength(evaluated: Evaluated) -> None:
    lines = printed(evaluated[1])
    assert [line for line in lines if line.startswith("critic ")] == [
        "critic oracle at strength 0.5",
        "critic oracle at strength 1",
    ]
    assert max(map(len, lines)) <= 80


def test_the_report_shows_every_strength_and_no_training(evaluated: Evaluated, adapter: Path) -> None:
    folder, _ = evaluated
    page = report.run(recipe(adapter, 0.5, 1.0), folder).read_text(encoding="utf-8")
    for said in (
        "critic oracle at strength 0.5<",
        "critic oracle at strength 1<",
        "<b>aligned at strength 0.5</b>",
        str(adapter),
    ):
        assert said in page
    assert "<h2>Training</h2>" not in page
    assert "From candidates to pairs" not in page


@pytest.mark.slow
def test_a_whole_run_with_a_given_adapter_trains_nothing_and_says_so(
    adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        result = pipeline.run(recipe(adapter, 1.0), RunFolder(tmp_path / "run"))
    assert "nothing is trained; --set evaluate.adapter=null trains" in caplog.text
    assert (result.adapter, result.pairs, result.latents) == (adapter, [], [])
    assert len(result.prompts) == 5
    assert result.report.exists()
    assert not (tmp_path / "run/adapter").exists()


def test_an_adapter_that_does_not_fit_is_refused_before_any_clip(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no adapter at"):
        run_commands.evaluate(recipe(tmp_path, 1.0), out=tmp_path / "run")
    assert not list(tmp_path.rglob("*.mp4"))


def test_without_an_adapter_the_run_must_have_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no adapter"):
        run_commands.evaluate(toy_recipe(), out=tmp_path / "run")


@pytest.mark.parametrize("scales", [(), [0.5, 0.5], -1, float("nan"), "strong", [1, None], 1e9])
def test_impossible_strengths_are_refused(scales: object) -> None:
    with pytest.raises(ValidationError, match="adapter_scale"):
        EvaluateConfig.model_validate({"critics": ["sfm"], "adapter_scale": scales})


def test_a_number_is_a_list_of_one() -> None:
    assert EvaluateConfig.model_validate({"critics": ["sfm"], "adapter_scale": 0.2}).adapter_scale == (0.2,)

"""The ablations run from end to end at toy size: what they write, what they share, and that they go on where they were."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from videogpa.errors import UserError
from videogpa.findings import Outcome, Relative

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "recipes" / "smoke-test.yaml"
SMALL = (
    "prompts.world={train: 2, held_out: 2, frames: 9, height: 32, width: 32}",
    "generate={candidates: 2, frames: 9, height: 32, width: 32, fps: 8, num_inference_steps: 1, guidance_scale: 1.0}",
    "score.frames=9",
    "pair.keep_motion=0.0",
    "train={steps: 1, batch_size: 1, gradient_accumulation_steps: 1, warmup_steps: 0, lora_rank: 4, "
    "lora_alpha: 4, held_out: 0.0, trackers: []}",
    "evaluate={critics: [oracle], seeds: 1}",
)


@pytest.fixture(scope="module")
def ablations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablations", ROOT / "benchmarks" / "ablations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablations"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_study_from_end_to_end(ablations: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        ablations.Variant("chosen"),
        ablations.Variant("drawn", at_random=True),
        ablations.Variant("other words", tested=("prompts.world.language=natural",)),
        ablations.Variant("no pair", ("pair.min_gap=100.0",)),
    )
    monkeypatch.setitem(ablations.GROUPS, "small", ("Small", lines))

    def study() -> str:
        page: str = ablations.study(MINI, SMALL, tmp_path, {"small": 1})
        return page

    page = study()
    rows = {row.split("|")[1].strip(): row for row in page.splitlines() if row.startswith("| ") and "%" in row}
    assert list(rows) == ["chosen", "drawn", "other words"]
    assert all("1 × unclear: fewer than 10 prompts" in row for row in rows.values())
    assert "| no pair | 0 | – | – | – | – | no pair: the gap is too small |" in page
    clips = sorted(tmp_path.glob("*/clips/train-0000/0.mp4"))
    assert len(clips) == 5  # `shared` and four cells
    assert len({clip.stat().st_ino for clip in clips}) == 1  # made once
    [natural] = tmp_path.glob("*/tested/prompts.jsonl")
    assert "Everything stands still" not in "".join(line for line in natural.read_text().splitlines() if "held_out" in line)
    assert "Everything stands still" in (tmp_path / "shared/prompts.jsonl").read_text()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix in {".mp4", ".safetensors"}}
    assert study() == page
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_seeds_are_averaged_and_a_cell_without_result_is_said(ablations: ModuleType) -> None:
    def outcome(change: float, flow: float) -> Outcome:
        motion = {"flow": Relative(change=flow, low=flow, high=flow)}
        geometry = Relative(change=change, low=change, high=change)
        return Outcome(
            verdict="better",
            measure="loo_error",
            geometry=geometry,
            motion=motion,
            failing=(0.5, 0.25),
            n=12,
            chose_pairs=False,
        )

    results = [ablations.Result(8, outcome(-0.2, 0.0)), ablations.Result(9, outcome(-0.3, -0.02))]
    [line] = ablations.table([(ablations.Variant("x"), [*results, ablations.Result(8, None, "exploded")])])[2:]
    assert line == (
        "| x | 8/9 | −25.0 ± 7.1 % | – | −1.0 ± 1.4 % | 50% → 25% | 2 × better geometry at equal motion; 1 × no result |"
    )


def test_recipes_know_every_change_and_equal_runs_share_a_folder(ablations: ModuleType, tmp_path: Path) -> None:
    base = ablations.load_recipe(MINI, [])
    cells = [
        ablations.make_cell(MINI, [], base, variant, 1, tmp_path)
        for _, variants in ablations.GROUPS.values()
        for variant in variants
    ]
    assert {cell.recipe.train.seed for cell in cells} == {1}
    by_name = {cell.variant.name: cell for cell in cells}
    assert by_name["as in the recipe"].folder.path == by_name["tested on scripted ones"].folder.path
    assert by_name["as in the recipe"].folder.path != by_name["tested on natural ones"].folder.path
    assert by_name["beta tenfold"].recipe.train.beta == 10 * base.train.beta
    assert by_name["a quarter of the prompts"].recipe.prompts.world.train == 2


def test_the_lines_of_an_estimator_are_settings_that_recipes_know(ablations: ModuleType, tmp_path: Path) -> None:
    lines = ablations.estimated("vggt", "{side: 56}")
    assert [line.name for line in lines][:3] == [
        "exact depth, estimated cameras",
        "estimated depth, exact cameras",
        "both estimated, the least confident 20% left out",
    ]
    base = ablations.load_recipe(MINI, [])
    options = [ablations.make_cell(MINI, [], base, line, 0, tmp_path).recipe.score.options for line in lines]
    assert options[0] == {"cameras": "vggt", "cameras_options": {"side": 56}}
    assert options[1] == {"depth": "vggt", "depth_options": {"side": 56}}
    assert options[3] == {**options[0], **options[1], "drop_fraction": 0.5}


def test_groups_may_have_seeds_of_their_own(ablations: ModuleType) -> None:
    assert ablations.chosen_groups(["scoring", "pairs:1"], 3) == {"scoring": 3, "pairs": 1}
    for wrong in ("luck", "pairs:some"):
        with pytest.raises(UserError, match=f"there is no group {wrong}"):
            ablations.chosen_groups([wrong], 3)

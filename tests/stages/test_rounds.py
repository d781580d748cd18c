"""Rounds: each goes on from the adapter of the one before, and all are compared on the same prompts and seeds."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from attempts import run_shell

from small_runs import OVERRIDES
from toys import toy_recipe
from videogpa.config import PromptsConfig, WorldPrompts
from videogpa.errors import InvalidInput, UserError
from videogpa.findings import CriticFindings, Evaluation, Outcome, Relative, TrainingOutcome
from videogpa.models.adapters import adapter_fingerprint
from videogpa.records import Judgement, Prompt, Score
from videogpa.stages import rounds
from videogpa.stages.paired import compare_scores
from videogpa.stages.prompts import plan
from videogpa.storage import manifests
from videogpa.storage.run_folder import FILES, FOLDERS, RunFolder

pytestmark = pytest.mark.slow


def run(*arguments: str) -> str:
    ran = run_shell("run", *arguments)
    assert ran.status == 0, ran.err
    return ran.err


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as ever."""
    folder = tmp_path_factory.mktemp("rounds") / "one"
    run("smoke-test", *OVERRIDES, "--out", str(folder))
    return folder


@pytest.fixture(scope="module")
def two(one: Path) -> Path:
    """The same, and a second round."""
    folder = one.with_name("two")
    shutil.copytree(one, folder)
    said = run(str(folder), "--rounds", "2")
    assert "round 2 of 2, from the adapter" in said
    assert "round 2 against round 1" in " ".join(said.replace("│", " ").split())
    return folder


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_later_round_is_a_run_folder_that_goes_on_from_the_round_before(one: Path, two: Path) -> None:
    second = two / "rounds/2"
    recipe = yaml.safe_load((second / "recipe.yaml").read_text())
    assert recipe["generate"]["adapter"] == recipe["train"]["initial_adapter"] == "../../adapter"
    assert recipe["rounds"]["count"] == 1
    assert yaml.safe_load((two / "recipe.yaml").read_text())["rounds"]["count"] == 2
    assert {path.name for path in second.iterdir()} <= {*FOLDERS, *FILES}
    assert [row["seed"] for row in jsonl(two / "clips.jsonl")] == [0, 1] * 3
    assert [row["seed"] for row in jsonl(second / "clips.jsonl")] == [2, 3] * 3
    assert adapter_fingerprint(two / "adapter") == adapter_fingerprint(one / "adapter")
    assert adapter_fingerprint(second / "adapter") != adapter_fingerprint(one / "adapter")
    decided = json.loads((second / "train/state.json").read_text())["decided_by"]
    assert decided["initial adapter"] == adapter_fingerprint(one / "adapter")


def test_the_first_round_is_kept_and_the_base_is_not_generated_or_scored_again(one: Path, two: Path) -> None:
    for name in ("clips.jsonl", "scores.jsonl", "train/metrics.jsonl", "evaluation.json", "evaluation/aligned/scores.jsonl"):
        assert (two / name).read_bytes() == (one / name).read_bytes()
    for name in ("clips.jsonl", "scores.jsonl"):
        assert (two / "rounds/2/evaluation/base" / name).read_bytes() == (one / "evaluation/base" / name).read_bytes()
    for row in jsonl(two / "evaluation/base/clips.jsonl"):
        files = [part / "evaluation/base" / row["path"] for part in (two, two / "rounds/2")]
        assert files[0].samefile(files[1])


def test_all_are_compared_with_the_base_and_the_last_with_the_one_before(two: Path) -> None:
    found = json.loads((two / "rounds.json").read_text())
    first, second = (json.loads((place / "evaluation.json").read_text()) for place in (two, two / "rounds/2"))
    assert found["against_base"] == [first["critics"], second["critics"]]
    rows = [
        [Score.model_validate(row) for row in jsonl(place / "evaluation/aligned/scores.jsonl")]
        for place in (two, two / "rounds/2")
    ]
    changes = compare_scores(*rows, chose_pairs=True, one_right_clip=True).changes
    for name in ("loo_error", "flow"):
        assert found["last_two"]["oracle"]["changes"][name] == changes[name].model_dump()
    page = (two / "report.html").read_text()
    for words in ("oracle, round 2 against round 1", 'href="rounds/2/report.html"', "<b>round 1</b>", "<b>round 2</b>"):
        assert words in page, words


def test_a_run_that_was_moved_is_still_finished_with_all_its_rounds(two: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(two, moved)
    made_anew = {".lock", ".videogpa", "report.html", "evaluation.json", "rounds.json", "recipe.yaml"}
    stamps = {path: path.stat().st_mtime_ns for path in moved.rglob("*") if path.is_file() and path.name not in made_anew}
    run(str(moved))
    assert [path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp] == []
    assert {path for path in moved.rglob("*") if path.is_file() and path.name not in made_anew} == stamps.keys()
    for name in ("rounds.json", "report.html", "rounds/2/report.html"):
        assert (moved / name).read_bytes() == (two / name).read_bytes()


def test_rounds_that_have_changed_since_are_not_shown(two: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(two, changed)
    scores = changed / "rounds/2/evaluation/aligned/scores.jsonl"
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[1:]))
    assert run_shell("report", str(changed)).status == 0
    assert "against round 1" not in (changed / "report.html").read_text()
    (changed / "rounds.json").write_text((changed / "rounds.json").read_text()[:-9])
    ran = run_shell("report", str(changed))
    assert ran.status == 1
    assert "rounds.json is damaged" in ran.message
    assert "run `videogpa run" in ran.message


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rounds", "0"], "rounds.count: Input should be greater than or equal to 1"),
        (["--rounds", "-2"], "rounds.count: Input should be greater than or equal to 1"),
        (["--rounds", "101"], "rounds.count: Input should be less than or equal to 100"),
        (["--rounds", "1"], "has 2 rounds already, and rounds.count is 1: give --rounds 2 or more"),
        (["--rounds", "2", "--set", "evaluate.adapter=x"], "nothing is trained: there is no second round"),
        (["--set", "rounds.prompts=next"], "rounds.prompts next needs prompts.part, such as [1, 48]"),
        (["--set", "train.reference=first"], "train.reference: Input should be 'previous' or 'base'"),
    ],
)
def test_rounds_that_cannot_be_are_refused_with_what_to_do(two: Path, arguments: list[str], complaint: str) -> None:
    ran = run_shell("run", str(two), *arguments)
    assert ran.status == 1
    assert complaint in ran.message
    assert "Traceback" not in ran.err


def test_a_round_has_no_rounds_of_its_own(two: Path) -> None:
    ran = run_shell("run", str(two / "rounds/2"), "--rounds", "2")
    assert ran.status == 1
    assert "is a round of" in ran.message


def test_judges_have_their_say_in_the_comparison_of_rounds(tmp_path: Path) -> None:
    """Round 2 has the better geometry, and a judge likes it less than round 1 on every prompt."""
    recipe = toy_recipe(rounds={"count": 2}, evaluate={"critics": ("sfm",), "judges": {"aesthetic": str(tmp_path)}})
    folder, names = RunFolder(tmp_path), [f"p{number}" for number in range(12)]
    for name in names:
        manifests.prompts(folder).append(Prompt(prompt=name, text="a room", split="held_out"))
    for (_, path), error, liked in zip(rounds.models(2, 1.0).items(), (0.3, 0.25, 0.2), (0.5, 0.7, 0.6), strict=True):
        for number, name in enumerate(names):
            part, clip, noise = folder.subfolder(path), f"{name}/0", 1 + 0.01 * number
            manifests.scores(part).append(Score(clip=clip, critic="sfm", status="ok", loo_error=error * noise, flow=0.02))
            numbers = {"aesthetic_quality": liked * noise}
            manifests.judgements(part).append(Judgement(clip=clip, judge="aesthetic", status="ok", numbers=numbers))
    compared = rounds.run(recipe, folder)
    outcomes = {name: critics["sfm"].outcome for name, critics in compared.comparisons().items()}
    assert {name: outcome.verdict for name, outcome in outcomes.items() if outcome is not None} == {
        "round 1": "better",
        "round 2": "better",
        "round 2 against round 1": "paid for with quality",
    }
    wins = [found["aesthetic"].changes["aesthetic_quality"].wins for found in compared.judged().values()]
    assert [(each.wins, each.losses) for each in wins if each is not None] == [(12, 0), (12, 0), (0, 12)]
    assert rounds.read(folder, 1.0) == compared


def found(verdict: TrainingOutcome) -> Evaluation:
    outcome = Outcome(
        verdict=verdict,
        measure="loo_error",
        geometry=Relative(change=0.2, low=0.1, high=0.3),
        motion={"flow": Relative(change=-0.2, low=-0.3, high=-0.1)},
        failing=None,
        n=24,
        chose_pairs=False,
    )
    return Evaluation(critics={"oracle": CriticFindings(chose_pairs=False, base={}, aligned={}, changes={}, outcome=outcome)})


def test_nothing_is_built_on_a_round_that_the_verdict_is_against() -> None:
    recipe = toy_recipe(rounds={"count": 3})
    for verdict in ("better", "unclear", "too few prompts"):
        rounds.require_success(recipe, 1, found(verdict))
    for verdict in ("worse", "explained by less motion", "paid for with quality", "paid for with diversity"):
        with pytest.raises(UserError, match=r"round 3 is not begun, since the verdict is against round 2.*rounds.stop=false"):
            rounds.require_success(recipe, 2, found(verdict))
        rounds.require_success(toy_recipe(rounds={"count": 3, "stop": False}), 2, found(verdict))


def test_clips_of_ones_own_are_no_candidates_of_a_round(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    row = Prompt(prompt="mine", text="a room", split="train", videos=("prompts/clips/mine/0.mp4",))
    (tmp_path / "prompts/clips/mine").mkdir(parents=True)
    (tmp_path / row.videos[0]).touch()
    manifests.prompts(folder).append(row)
    with pytest.raises(InvalidInput, match="bring clips of their own, such as mine"):
        rounds.require_candidates(folder)


def test_parts_of_the_prompts_are_disjoint_and_held_out_prompts_stay() -> None:
    def names(part: tuple[int, int] | None) -> tuple[list[str], list[str]]:
        rows = plan(PromptsConfig(world=WorldPrompts(train=6, held_out=2), part=part))
        return [row.prompt for row in rows if row.split == "train"], [row.prompt for row in rows if row.split == "held_out"]

    everything, held_out = names(None)
    parts = [names((number, 2)) for number in (1, 2, 3)]
    assert [len(part) for part, _ in parts] == [2, 2, 2]
    assert sorted(name for part, _ in parts for name in part) == everything
    assert all(kept == held_out for _, kept in parts)
    with pytest.raises(InvalidInput, match=r"prompts.part is \[4, 2\], which takes 8 training prompts, and there are 6"):
        names((4, 2))


def test_later_rounds_take_the_next_part_and_the_next_seeds(tmp_path: Path) -> None:
    recipe = toy_recipe(prompts={"part": (1, 1)}, rounds={"count": 3, "prompts": "next"}, generate={"seed": 10})
    third = rounds.recipe_of(recipe, RunFolder(tmp_path), 3)
    assert third.prompts.part == (3, 1)
    assert third.generate.seed == 10 + 2 * recipe.generate.candidates
    assert third.train.initial_adapter == third.generate.adapter == tmp_path / "rounds/2/adapter"
    assert third.train.seed == recipe.train.seed
    assert third.evaluate == recipe.evaluate
    same = rounds.recipe_of(toy_recipe(prompts={"part": (1, 1)}, rounds={"count": 3}), RunFolder(tmp_path), 3)
    assert same.prompts.part == (1, 1)

"""Reading a study: bad files are said, inattentive raters are left out, and known truths are found."""

import json
import random
from pathlib import Path

import pytest
from attempts import shell
from people import answered, simulated

from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.records import Judgement, Score
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.study.answers import read_answers, read_key
from videogpa.study.records import Answers, Key
from videogpa.study.results import Results, evaluate
from videogpa.study.scores import read_scores
from videogpa.study.votes import rater_of


def test_a_study_is_read_by_one_command(study: Path, answer_files: list[Path], tmp_path: Path):
    files = [str(file) for file in answer_files]
    ran = shell("study", "read", *files, "--key", str(study / "key.json"), "--out", str(tmp_path / "results.json"))
    results = Results.model_validate_json((tmp_path / "results.json").read_text())
    duel = results.findings["space"].duels[0]
    assert (duel.arm, duel.against, duel.prompts, duel.votes) == ("aligned", "base", 4, 12)
    assert (duel.won, duel.tied, duel.lost) == pytest.approx((2 / 3, 1 / 3, 0))
    assert duel.p_value == pytest.approx(2 * 0.5**4)
    assert duel.win_rate is not None
    assert duel.win_rate.value == 1.0
    assert duel.win_rate.low < 0.4  # four prompts say little
    assert results.findings["space"].people == 1.0
    assert (duel.of_prompts, duel.of_raters) == (None, None)  # all votes that are no ties are alike
    assert "Whose space holds together better?" in ran.out
    assert "100% [" in ran.out


def test_a_rater_who_fails_the_scrambled_clips_or_does_not_watch_is_named_and_left_out(
    study: Path, key: Key, answer_files: list[Path], tmp_path: Path
):
    first, second, third = key.raters
    careless = json.loads(answer_files[0].read_text())
    for answer in careless["answers"]:
        answer["choices"] = {"space": "left", "overall": "left"}
    answer_files[0].write_text(json.dumps(careless))
    hasty = answered(key, second, lambda item: "aligned", seconds=0.2)
    answer_files[1].write_text(hasty.model_dump_json())
    files = [str(file) for file in answer_files]
    ran = shell("study", "read", *files, "--key", str(study), "--out", str(tmp_path / "results.json"))
    assert f"{first} is left out: 2 of 4 questions about scrambled clips answered rightly" in ran.err
    assert f"{second} is left out: 0% of the pairs watched" in ran.err
    duel = Results.model_validate_json((tmp_path / "results.json").read_text()).findings["overall"].duels[0]
    assert (duel.votes, duel.tied, duel.win_rate) == (4, 1.0, None)
    answer_files[2].unlink()
    with pytest.raises(UserError, match="no rater's answers count"):
        shell("study", "read", *files[:2], "--key", str(study), "--out", str(tmp_path / "results.json"))
    assert third not in ran.err


def test_who_changes_his_mind_on_repeats_agrees_less_with_himself(key: Key):
    rater = next(iter(key.raters))
    same = answered(key, rater, lambda item: "aligned")
    assert (rater_of(key, same).repeated, rater_of(key, same).same) == (2, 2)
    changed = same.model_dump(mode="json")
    last = max(number for number, trial in enumerate(key.raters[rater]) if trial.repeat)
    changed["answers"][last]["choices"]["space"] = "same"
    assert rater_of(key, Answers.model_validate(changed)).same == 1


def damaged(text: str, **changes: object) -> str:
    return json.dumps(json.loads(text) | changes)


BAD = {
    "another study's": (lambda text: damaged(text, study="othere"), "answers to another study: othere"),
    "a stranger's": (lambda text: damaged(text, rater="nobody"), "of a rater whom the study does not have: nobody"),
    "torn": (lambda text: text[: len(text) // 2], "or a part of it is missing"),
    "empty": (lambda text: "", "is no JSON"),
    "a list": (lambda text: "[]", "holds no answers of a rater"),
    "nested deeply": (lambda text: "[" * 100_000, "is not a rater's answers"),
    "unfinished": (lambda text: damaged(text, answers=json.loads(text)["answers"][:3]), "answered 3 of 7 pairs"),
    "too long": (
        lambda text: damaged(text, answers=[a | {"trial": a["trial"] + 1} for a in json.loads(text)["answers"]]),
        "answers pair 8, and the rater was shown 7",
    ),
    "twice the same pair": (
        lambda text: damaged(text, answers=[a | {"trial": 0} for a in json.loads(text)["answers"]]),
        "a trial is answered twice",
    ),
    "an unknown answer": (lambda text: text.replace('"right"', '"both"').replace('"left"', '"both"'), "choices.space"),
    "no question": (lambda text: text.replace('"overall"', '"looks"'), "an answer to each of space, overall"),
    "not a number": (lambda text: text.replace("3.0", "NaN"), "answers.0.seconds"),
    "a negative time": (lambda text: text.replace("3.0", "-3.0"), "answers.0.seconds"),
    "a key twice": (lambda text: text.replace("{", '{"study": "x", ', 1), "'study' is given twice"),
    "something more": (lambda text: damaged(text, extra=1), "extra"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_wrong_with_a_file_of_answers_is_said(kind: str, key: Key, answer_files: list[Path]):
    change, says = BAD[kind]
    answer_files[0].write_text(change(answer_files[0].read_text()))
    with pytest.raises(InvalidInput) as error:
        read_answers(answer_files, key)
    assert says in str(error.value)
    assert answer_files[0].name in str(error.value)
    assert len(str(error.value)) < 700


def test_two_files_of_one_rater_are_refused_and_files_that_are_none(key: Key, study: Path, answer_files: list[Path]):
    twice = answer_files[0].with_name("again.json")
    twice.write_bytes(answer_files[0].read_bytes())
    with pytest.raises(InvalidInput, match=r"of the same rater, .* with the same answers"):
        read_answers([*answer_files, twice], key)
    with pytest.raises(InvalidInput, match="is the key of a study"):
        read_answers([study / "key.json"], key)
    with pytest.raises(InvalidInput, match="holds a rater's answers, where the study's key"):
        read_key(answer_files[0])
    with pytest.raises(MissingInput):
        read_answers([study / "gone.json"], key)
    with pytest.raises(UserError, match="which study"):
        shell("study", "read", str(answer_files[0]))
    with pytest.raises(UserError, match="holds no answers"):
        shell("study", "read", str(study))


def test_unfinished_answers_count_when_asked_for(study: Path, key: Key, answer_files: list[Path], tmp_path: Path):
    text = answer_files[0].read_text()
    answer_files[0].write_text(damaged(text, answers=json.loads(text)["answers"][:3]))
    read = read_answers(answer_files, key, unfinished=True)
    assert sorted(len(each.answers) for each in read) == [3, 7, 7]


def opinion(truth: dict[str, float], seed: int):
    """What a rater prefers who sees how good arms are, with noise, and no difference where it is small."""
    draw = random.Random(seed)

    def prefers(arms: tuple[str, str]) -> str | None:
        seen = {arm: truth[arm] + draw.gauss(0, 1) for arm in arms}
        one, other = arms
        return None if abs(seen[one] - seen[other]) < 0.3 else max(seen, key=lambda arm: seen[arm])

    return prefers


def test_three_arms_are_ranked_as_they_are_and_the_score_to_believe_comes_first():
    truth = {"base": 0.0, "worse": -0.8, "better": 0.8}
    key = simulated(40, 6, tuple(truth))
    answers = []
    for number, rater in enumerate(key.raters):
        prefers = opinion(truth, number)
        answers.append(answered(key, rater, lambda item, prefers=prefers: prefers(key.items[item].arms)))
    draw = random.Random(9)
    scores = {
        ("good", "loo_error"): {clip: -truth[arm] + draw.gauss(0, 0.1) for clip, arm in by_clip(key).items()},
        ("bad", "psnr"): {clip: draw.random() for clip in by_clip(key)},
        ("none", "loo_error"): {},
    }
    found = evaluate(key, answers, scores).findings["space"]
    strengths = {each.arm: each.win_rate for each in found.strengths}
    assert strengths["worse"].high < 0.5 < strengths["better"].low
    first, second = found.scores
    assert (first.critic, second.critic) == ("good", "bad")
    assert first.accuracy.low > 0.65
    assert second.accuracy.low < 0.5 < second.accuracy.high
    assert found.people is not None
    assert first.accuracy.value == pytest.approx(found.people, abs=0.2)


def by_clip(key: Key) -> dict[str, str]:
    """The arm of each clip; in `simulated` a clip's path ends in the number of its arm."""
    return {clip: key.arms[int(clip.rpartition("/")[2])] for item in key.items.values() for clip in item.clips}


def test_scores_are_found_by_the_files_that_they_name(study: Path, key: Key, tmp_path: Path):
    folder = RunFolder(tmp_path / "scores")
    clips = sorted({clip for item in key.items.values() for clip in item.clips})
    for number, clip in enumerate(clips):
        status = "failed" if number == 0 else "ok"
        manifests.scores(folder).append(Score(clip=clip, critic="sfm", status=status, loo_error=number / 10, flow=1.0))
    found = read_scores(key, [folder.path])
    assert found == {("sfm", "loo_error"): {clip: number / 10 for number, clip in enumerate(clips) if number}}
    judgement = Judgement(clip=clips[1], judge="videoreward", status="ok", numbers={"ovl": 0.5, "unknown": 1.0})
    manifests.judgements(folder).append(judgement)
    assert read_scores(key, [folder.path])["videoreward", "ovl"] == {clips[1]: 0.5}
    manifests.scores(RunFolder(tmp_path / "others")).append(Score(clip="x.mp4", critic="sfm", status="ok", loo_error=0.1))
    with pytest.raises(InvalidInput, match="none of the study's clips"):
        read_scores(key, [tmp_path / "others"])
    with pytest.raises(MissingInput, match=r"no scores\.jsonl"):
        read_scores(key, [tmp_path])

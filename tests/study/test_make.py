"""Making a study: what raters get tells no arm, and what is wrong is said."""

import json
import random
import re
from pathlib import Path

import pytest
import torch
from attempts import shell
from people import answered

from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.records import Clip, Prompt
from videogpa.stages.compare import Methods
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.study.clips import scramble, write_pair
from videogpa.study.make import Sources, from_run, make
from videogpa.study.records import Key
from videogpa.study.votes import votes_of
from videogpa.video import read_frames, write_video


def data_of(page: Path) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    content: dict[str, object] = json.loads(found[1])
    return content


def test_the_page_names_no_arm_no_clip_and_no_repeat(study: Path, key: Key):
    page = (study / "page/study.html").read_text()
    assert [path.name for path in (study / "page").iterdir()] == ["study.html"]  # the videos are in it
    without_styles = page[page.index("<main>") :]
    for word in ("aligned", "base", "p0", "p1", "scrambled", str(study.parent)):
        assert not re.search(rf"\b{re.escape(word)}\b", re.sub(r"base64,[\w+/=]+", "", without_styles)), word
    data = data_of(study / "page/study.html")
    assert data.keys() == {"study", "questions", "plans", "items"}
    assert list(data["items"]) == sorted(key.items)
    assert data["plans"] == {rater: [[t.item, t.left] for t in plan] for rater, plan in key.raters.items()}


def test_the_order_of_the_clips_in_their_file_tells_no_arm(key: Key):
    orders = {item.arms for item in key.items.values()}
    assert {("base", "aligned"), ("aligned", "base")} <= orders


def test_a_video_shows_both_clips_at_the_same_moment_the_shorter_one_slowed(tmp_path: Path):
    ramp = torch.linspace(0.1, 0.9, 9)[:, None, None, None].expand(-1, 3, 32, 48)
    write_video(tmp_path / "long.mp4", ramp, fps=9)
    write_video(tmp_path / "short.mp4", ramp[::2], fps=9)
    player = write_pair(
        tmp_path / "pair.mp4", (tmp_path / "long.mp4", tmp_path / "short.mp4"), (False, False), random.Random(0)
    )
    assert (player.frames, player.rate) == (9, pytest.approx(9.0))
    frames = read_frames(tmp_path / "pair.mp4")
    one, other = (frames[..., p.left : p.left + p.width][..., : p.height, :].mean((1, 2, 3)) for p in player.panels)
    assert torch.allclose(one, torch.linspace(0.1, 0.9, 9), atol=0.02)
    assert (one - other).abs().max() < 0.11  # half a frame of the shorter one
    assert one[[0, -1]].tolist() == pytest.approx(other[[0, -1]].tolist(), abs=0.02)


def test_scrambled_tiles_are_the_same_pixels_in_other_places():
    frame = torch.rand(3, 33, 50, generator=torch.Generator().manual_seed(0))
    order = [*range(1, 16), 0]
    mixed = scramble(frame, order)
    assert torch.equal(mixed[:, :8, :12], frame[:, :8, 12:24])
    assert torch.equal(mixed[:, 32:], frame[:, 32:])
    assert torch.equal(mixed.flatten(1).sort().values, frame.flatten(1).sort().values)


def test_a_study_is_made_from_a_run_with_its_prompts_and_scores(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    for prompt in ("p", "q"):
        manifests.prompts(run).append(Prompt(prompt=prompt, text=f"a {prompt}", split="held_out"))
        for arm in ("aligned-0.5", "base", "aligned"):
            part = run.subfolder(f"evaluation/{arm}")
            write_video(part / f"clips/{prompt}/0.mp4", torch.rand(3, 3, 16, 16), fps=3)
            manifests.clips(part).append(Clip(clip=f"{prompt}/0", prompt=prompt, seed=0, path=f"clips/{prompt}/0.mp4"))
    key = make(from_run(run.path), tmp_path / "study", pairs=6, raters=1)
    assert key.arms == ("base", "aligned", "aligned-0.5")
    assert {item.prompt for item in key.items.values()} == {"p", "q"}
    items = data_of(tmp_path / "study/page/study.html")["items"]
    assert {item["text"] for item in items.values()} == {"a p", "a q"}  # type: ignore[attr-defined]
    assert key.scores == tuple(str(run.path / "evaluation" / arm) for arm in key.arms)
    with pytest.raises(MissingInput, match="evaluate"):
        from_run(tmp_path)


def test_what_is_impossible_is_said_and_a_study_is_never_overwritten(study: Path, tmp_path: Path):
    before = (study / "key.json").read_bytes()
    base, other = str(study.parent / "base"), str(study.parent / "aligned")
    for words, says in (
        ((base, other, "--out", str(study)), "never overwritten"),
        ((base, other, "--pairs", "0"), "--pairs takes a number from 1"),
        ((base, other, "--raters", "2000"), "--raters takes a number from 1 to 1000"),
        ((base,), "name two or more folders"),
        ((str(tmp_path / "gone"), other), "no folder of clips"),
    ):
        with pytest.raises(UserError, match=says):
            shell("study", "make", *(("--out", str(tmp_path / "new")) if "--out" not in words else ()), *words)
    assert (study / "key.json").read_bytes() == before
    assert not (tmp_path / "new").exists()
    with pytest.raises(InvalidInput, match="nothing to compare"):
        make(Sources(Methods({"a": {"x": tmp_path}, "b": {"y": tmp_path}})), tmp_path / "new", pairs=1, raters=1)


def test_the_same_seed_makes_the_same_study_and_without_one_it_is_secret(study: Path, key: Key, tmp_path: Path):
    base, other = str(study.parent / "base"), str(study.parent / "aligned")
    for seed in ("5", None):
        out = tmp_path / f"study{seed}"
        given = ("--seed", seed) if seed else ()
        ran = shell("study", "make", base, other, "--pairs", "4", "--raters", "3", *given, "--out", str(out))
        made = Key.model_validate_json((out / "key.json").read_text())
        assert (made == key) == (seed == "5")
        assert all(rater in ran.out for rater in made.raters)
        assert "keep" in ran.err
    assert len(votes_of(key, [answered(key, next(iter(key.raters)), lambda item: None)], "space")) == 4

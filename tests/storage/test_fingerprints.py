"""Fingerprints: a new setting at its default makes nothing again; a changed default does."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from videogpa.config import ModelConfig, PairConfig, ScoreConfig, TimestepsConfig, TrainConfig
from videogpa.config.base import Config
from videogpa.models.base import Sampling
from videogpa.records import Prompt, Scene
from videogpa.registry import CRITICS, check_options
from videogpa.storage import fingerprints
from videogpa.storage.fingerprints import FIRST, LATER, changed_options, fingerprint, hashed, hashed_later

HASHED = (TrainConfig, TimestepsConfig, ScoreConfig, PairConfig, ModelConfig, Sampling, Prompt, Scene)
REQUIRED: dict[type, dict[str, Any]] = {ModelConfig: {"name": "wan-t2v", "path": "toy:wan-t2v"}}


def names_of(kind: type) -> list[str]:
    return list(kind.model_fields) if issubclass(kind, BaseModel) else [field.name for field in fields(kind)]


@pytest.mark.parametrize("kind", HASHED)
def test_every_hashed_setting_has_a_fixed_value_at_which_it_is_not_hashed(kind: type) -> None:
    """A setting missing here is new: enter it with its default in `LATER` (and never change what stands there)."""
    assert sorted([*FIRST[kind.__name__].split(), *LATER.get(kind.__name__, {})]) == sorted(names_of(kind))


def test_fingerprints_are_those_of_the_versions_before() -> None:
    """What they stand for is not made again."""
    train = TrainConfig()
    no_effect = {"batch_size", "gradient_accumulation_steps", "joint_forward", "gradient_checkpointing", "validate_every"}
    no_effect |= {"checkpoint_every", "log_every", "trackers", "dtype"}
    assert fingerprint("train", (hashed(train, exclude=no_effect), "both"), 16, "m", [("a", "b")]) == "35b35611338e0c3b"
    noisy = ScoreConfig(critic="oracle", options={"depth_noise": 0.5})
    assert fingerprint(noisy, None, "c", None) == "9be7718cf56311ee"
    assert fingerprint(ScoreConfig(), None, "c", None) == "e72bfd88a8c081a0"
    assert fingerprint(PairConfig(), "sfm", [("a/0", "f")]) == "93181f901a57b7ee"
    sampling = Sampling(frames=9, height=32, width=32, num_inference_steps=2, guidance_scale=6.0)
    assert fingerprint("clip", "m", sampling, 8, "p", 0) == "521ef176480fa0ae"
    scene = Scene(seed=1, camera="orbit-left", frames=9, height=32, width=32)
    assert fingerprint(Prompt(prompt="p", text="t", scene=scene), None) == "7fe6fa3eeb7f7a6c"


class Nested(Config):
    strength: float = 1.0
    kind: str = "none"


def newer(kind: type[BaseModel]) -> Any:
    """The class as a later version has it: with new settings of every kind, at their defaults."""

    class Newer(kind):  # type: ignore[misc, valid-type]
        negative: str = ""
        strengths: tuple[float, ...] = (1.0,)
        folder: Path | None = None
        nested: Nested = Nested()

    return Newer


@pytest.mark.parametrize("kind", [k for k in HASHED if issubclass(k, BaseModel) and k not in (Prompt, Scene)])
def test_a_new_setting_at_its_default_changes_no_fingerprint(kind: type[BaseModel]) -> None:
    given = REQUIRED.get(kind, {})
    before, after = kind(**given), newer(kind)(**given)
    assert fingerprint(after) == fingerprint(before)
    changes: list[dict[str, Any]] = [{"negative": "x"}, {"strengths": (1.0, 2.0)}, {"folder": Path("x")}]
    changes += [{"nested": Nested(strength=2.0)}, {"nested": Nested(kind="x")}]
    assert len({fingerprint(newer(kind)(**given, **change)) for change in [{}, *changes]}) == 6
    assert hashed_later(after) == hashed_later(before) == []
    assert hashed_later(newer(kind)(**given, nested=Nested(strength=2.0))) == [{"nested": {"strength": 2.0}}]


def test_a_new_field_of_a_dataclass_at_its_default_changes_no_fingerprint() -> None:
    @dataclass(frozen=True)
    class Newer(Sampling):
        negative_prompt: str = ""

    old, new = Sampling(9, 32, 32, 2, 6.0), Newer(9, 32, 32, 2, 6.0)
    assert fingerprint(new) == fingerprint(old) != fingerprint(Newer(9, 32, 32, 2, 6.0, "x"))


def test_a_changed_default_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed(TrainConfig):
        beta: float = 300.0  # of the first version: 500

    assert fingerprint(Changed()) != fingerprint(TrainConfig())
    assert fingerprint(Changed(beta=500)) == fingerprint(TrainConfig())

    class Config2(TrainConfig):
        scale: float = 2.0  # came with 1

    monkeypatch.setitem(LATER, "TrainConfig", {"scale": 1.0})
    assert fingerprint(Config2(scale=1)) == fingerprint(TrainConfig()) != fingerprint(Config2())


OPTIONS = {
    "sfm": {},
    "vggt": {"weights": "facebook/VGGT-1B-Commercial", "crop": "whole", "points": "depth", "side": None, "device": "auto"},
    "da3": {"weights": "depth-anything/DA3-BASE", "side": 504, "device": "auto"},
    "oracle": {"depth_noise": 0.0, "camera_noise": 0.0, "outlier_fraction": 0.0, "random_similarity": False},
    "mixed": {"depth": "oracle", "cameras": "oracle", "depth_options": {}, "cameras_options": {}, "drop_fraction": 0.0},
}
"""The defaults of the critics' options when each came."""


@pytest.mark.parametrize("critic", OPTIONS)
def test_an_option_of_a_critic_has_the_default_that_it_came_with(critic: str) -> None:
    """A default that differs from the table has to be entered in `CHANGED_OPTIONS`; a new option goes into the table alone."""
    expected = {**OPTIONS[critic], **fingerprints.CHANGED_OPTIONS.get(critic, {})}
    assert check_options(CRITICS, critic, {}) == expected


def test_a_changed_default_of_an_option_is_hashed_where_the_option_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed_options("vggt", {}) == []
    monkeypatch.setitem(fingerprints.CHANGED_OPTIONS, "vggt", {"crop": "centre"})
    assert changed_options("vggt", {"side": 14}) == [{"crop": "centre"}]
    assert changed_options("vggt", {"crop": "whole"}) == changed_options("sfm", {}) == []

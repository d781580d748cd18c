"""The public API: what `import videogpa` offers, how soon it answers, and what each name does when it is called."""

import doctest
import gc
import inspect
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import videogpa
from videogpa.config import PairConfig
from videogpa.critics.base import CriticInput
from videogpa.critics.oracle import OracleCritic
from videogpa.records import Reconstruction, Scene, Score
from videogpa.world.failures import render_failing

SIZE, FRAMES = 32, 4
SCENE = Scene(seed=3, camera="orbit-left", frames=FRAMES, height=SIZE, width=SIZE)

NAMES = [name for name in videogpa.__all__ if name != "__version__"]
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(videogpa, name))]
CLASSES = [name for name in NAMES if inspect.isclass(getattr(videogpa, name))]
NEVER_REFUSE = {"choose_pairs", "compare_scores", "dpo_logits", "dpo_loss"}
"""Functions of values alone, which raise nothing of their own."""


def test_every_public_name_is_found_and_listed() -> None:
    assert dir(videogpa) == sorted(videogpa.__all__)
    assert len(set(NAMES)) == len(NAMES) == len(FUNCTIONS) + len(CLASSES) + 1  # and MEASURES, a table
    for name in [*FUNCTIONS, *CLASSES]:
        assert getattr(videogpa, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        videogpa.nothing_of_ours  # noqa: B018 - the access is what is tested


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_documents_every_argument_and_what_it_raises(name: str) -> None:
    function = getattr(videogpa, name)
    text = inspect.getdoc(function) or ""
    arguments = text.partition("Args:\n")[2]
    undocumented = [given for given in inspect.signature(function).parameters if f"\n    {given}: " not in f"\n{arguments}"]
    assert undocumented == []
    assert "Returns:" in text or re.search(r"\b(Return|Render)", text)
    assert ("Raises:" in text) == (name not in NEVER_REFUSE)


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_is_documented(name: str) -> None:
    own = vars(getattr(videogpa, name)).get("__doc__") or ""
    assert len(own) > 60
    assert not own.startswith(f"{name}("), "the dataclass decorator wrote this docstring"
    if name == "Scorer":  # a user builds it from arguments
        assert "Args:" in own
        assert "Raises:" in own


def user_seconds(*arguments: str) -> float:
    """The CPU time that a fresh interpreter spends in user mode: the best of five, which a busy machine changes little."""
    spent = []
    for _ in range(5):
        before = os.times().children_user
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        spent.append(os.times().children_user - before)
    return min(spent)


def test_the_package_is_imported_at_once_and_without_torch() -> None:
    assert user_seconds("-c", "import sys, videogpa; sys.exit('torch' in sys.modules)") <= 0.3


def test_the_command_line_answers_help_at_once_and_without_torch() -> None:
    code = (
        "import sys\nfrom videogpa.cli import main\ntry: main(['--help'])\n"
        "except SystemExit as ended: sys.exit(ended.code or 'torch' in sys.modules)\n"
    )
    assert user_seconds("-c", code) <= 1.0


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """A user's own reconstruction: exact geometry of a scene of the miniature world."""
    clip = CriticInput(render_failing(SCENE, None), scene=SCENE, frame_indices=tuple(range(FRAMES)))
    exact = OracleCritic().reconstruct(clip)
    return {name: getattr(exact, name).numpy() for name in ("images", "depth", "intrinsics", "camera_from_world")}


def columns(**arrays: Any) -> dict[str, float | int | str]:
    return videogpa.score_reconstruction(videogpa.Reconstruction.from_arrays(**arrays), videogpa.Lpips("alex")).columns()


def test_numpy_arrays_and_tensors_are_scored_with_equal_numbers(arrays: dict[str, np.ndarray]) -> None:
    of_arrays = columns(**arrays)
    assert of_arrays == columns(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    assert 0 < float(of_arrays["loo_error"]) < float(of_arrays["single_image"])  # exact geometry explains the frames
    other = {"images": arrays["images"].transpose(0, 2, 3, 1), "depth": list(arrays["depth"])}
    assert of_arrays == columns(**{**arrays, **other, "camera_from_world": arrays["camera_from_world"].tolist()})
    still = {**arrays, "camera_from_world": np.repeat(arrays["camera_from_world"][:1], FRAMES, axis=0)}
    assert float(columns(**still)["loo_error"]) > float(of_arrays["loo_error"])  # and wrong cameras explain them worse


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("images", lambda a: a[:, :2], ValueError),
        ("images", lambda a: (255 * a).astype(np.int16), TypeError),
        ("depth", lambda a: a[1:], ValueError),
        ("depth", lambda a: "depth.npy", TypeError),
        ("camera_from_world", lambda a: a[:, :3], ValueError),
        ("intrinsics", lambda a: a.astype(np.int64), TypeError),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused_by_name(arrays, name, change, error) -> None:
    for convert in (lambda a: a, lambda a: torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a):
        with pytest.raises(error, match=name):
            Reconstruction.from_arrays(**{**arrays, name: convert(change(arrays[name]))})


def test_what_is_missing_is_a_file_not_found(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for call in (
        lambda: videogpa.score_files([gone], out=tmp_path / "out"),
        lambda: videogpa.load_recipe(gone),
        lambda: videogpa.run(gone, out=tmp_path / "out"),
        lambda: videogpa.run(tmp_path, out=tmp_path / "out"),  # a folder, but not of a run
        lambda: videogpa.train("smoke-test", out=tmp_path / "run"),  # nothing is encoded
        lambda: videogpa.evaluate("smoke-test", out=tmp_path / "run"),  # nothing is trained
    ):
        with pytest.raises(FileNotFoundError) as refused:
            call()
        assert isinstance(refused.value, videogpa.UserError)
    assert not (tmp_path / "out").exists()


def test_what_is_unknown_or_impossible_is_a_value_error(tmp_path: Path) -> None:
    clip = torch.zeros(10, 3, SIZE, SIZE)
    (tmp_path / "clip.mp4").touch()
    for call in (
        lambda: videogpa.score(clip, critic="sfn"),
        lambda: videogpa.reconstruct(clip, critic="sfn"),
        lambda: videogpa.Scorer("sfn"),
        lambda: videogpa.score_files(tmp_path / "clip.mp4", critic="sfn", out=tmp_path / "out"),
        lambda: videogpa.load_recipe("smoke-test", {"score.critic": "sfn"}),
        lambda: videogpa.run("smoke-test", out=tmp_path / "out", set={"train.setps": 1}),
        lambda: videogpa.score_files([], out=tmp_path / "out"),
        lambda: videogpa.score(clip[:3]),
    ):
        with pytest.raises(ValueError, match=r"sfn|setps|name at least one video|3 frames"):
            call()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_one_scorer_scores_many_clips_and_is_freed_when_its_block_ends() -> None:
    generator = torch.Generator().manual_seed(0)
    clips = [torch.rand(10, 3, 64, 64, generator=generator), torch.rand(1, 3, 64, 64).expand(12, -1, -1, -1)]
    with videogpa.Scorer("sfm", frames=4) as scorer:
        critic = weakref.ref(scorer.critic)
        rows = [scorer.score(clip) for clip in clips]
        assert scorer.critic is critic()  # loaded once
    gc.collect()
    assert critic() is None
    assert [(row.critic, row.loo_error) for row in rows] == [("sfm", None)] * 2  # noise and a still have no geometry
    assert all(row.reason for row in rows)
    with pytest.raises(RuntimeError, match="closed"):
        scorer.score(clips[0])


@pytest.mark.parametrize("name", ["choose_pairs", "compare_scores", "dpo_logits", "dpo_loss"])
def test_the_example_in_the_docstring_gives_what_it_shows(name: str) -> None:
    function = getattr(videogpa, name)
    names = {"torch": torch, "Score": Score, "PairConfig": PairConfig, name: function}
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(function) or "", names, name, None, None)
    assert example.examples
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example)
    assert runner.summarize(verbose=False).failed == 0

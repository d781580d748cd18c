import re
import subprocess
import sys
from pathlib import Path

import pytest

from toys import toy_recipe
from videogpa.bundled import recipes_folder
from videogpa.cli import main
from videogpa.cli.doctor import GIB, shortfalls
from videogpa.cli.shell import COMMANDS
from videogpa.config import load_recipe
from videogpa.measures import MEASURES
from videogpa.records import Score
from videogpa.stages import generate, prompts
from videogpa.storage import manifests
from videogpa.storage.provenance import write_recipe
from videogpa.storage.run_folder import RunFolder


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    return re.sub(r"\s+", " ", capsys.readouterr().out.replace("│", " "))


def test_the_front_page_of_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of("", capsys)
    assert [command for command in COMMANDS if f"• {command} " not in shown] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_usage_and_a_sentence_and_shows_a_call(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of(command, capsys)
    assert shown.startswith(f"usage: videogpa {command} ")
    assert re.search(r" [A-Z][a-z]+ [a-z][^.?]+[.:?] ", shown), "no sentence says what the command does"
    assert shown.count(f"videogpa {command}") > 1, "no call is shown"


@pytest.mark.parametrize(
    ("what", "expected"),
    [("critics", "sfm"), ("models", "cogvideox-i2v"), ("recipes", "smoke-test"), ("measures", "loo_error")],
)
def test_lists_name_what_there_is(what: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", what])
    assert expected in capsys.readouterr().out


def test_doctor_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    printed = capsys.readouterr().out
    for word in ("torch", "memory", "GPU", "LPIPS alex", "critic vggt", "smoke-test"):
        assert word in printed


def test_doctor_compares_needs_with_the_machine() -> None:
    recipe = load_recipe(recipes_folder() / "smoke-test.yaml", ["needs.gpu_gib=40", "needs.memory_gib=16"])
    assert shortfalls(recipe, 32 * GIB, [("big", 80 * GIB)]) == []
    assert shortfalls(recipe, 32 * GIB, []) == ["needs a GPU with 40 GiB, the largest here has 0"]
    assert len(shortfalls(recipe, 8 * GIB, [("small", 24 * GIB)])) == 2


def test_every_number_of_a_row_has_its_meaning_declared() -> None:
    described = {"fingerprint", "clip", "critic", "status", "reason", "lpips_net", "frames", "details", "reliability", "doubts"}
    assert set(Score.model_fields) - described == {name for name, measure in MEASURES.items() if measure.of == "clip"}


def test_an_unfinished_command_is_refused_with_usage(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "videogpa.cli", "run"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "videogpa run --help" in done.stderr + done.stdout


RUN_COMMANDS = ("run", "prompts", "generate", "score-run", "pair", "encode", "train", "evaluate", "report")


@pytest.mark.parametrize("command", RUN_COMMANDS)
def test_every_command_of_a_run_takes_settings(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--set NAME=VALUE" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["--critic", "vggt"], ["--frames", "9"], ["--out", "elsewhere"], ["--paper"]])
def test_a_run_folder_among_video_files_is_refused_whatever_the_flags(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine/recipe.yaml").touch()
    with pytest.raises(SystemExit) as ended:
        main(["score", "mine", *flags])
    assert ended.value.code == 1
    assert "videogpa score-run mine" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]  # nothing was scored or written


@pytest.mark.slow
def test_score_run_scores_a_run_with_the_critic_that_set_names(tmp_path: Path) -> None:
    recipe, folder = toy_recipe(), RunFolder(tmp_path / "run")
    write_recipe(recipe, folder)
    prompts.run(recipe, folder)
    generate.run(recipe, folder)
    main(["score-run", str(folder.path), "--set", "score.critic=oracle", "--set", "score.frames=9"])
    rows = manifests.scores(folder).rows()
    assert [row.clip for row in rows] == [clip.clip for clip in manifests.clips(folder).rows()]
    assert {row.critic for row in rows} == {"oracle"}
    assert recipe.score.critic != "oracle"


def test_the_log_is_printed_on_the_terminal() -> None:
    """In a process of its own: here pytest has handlers already, which the command line leaves alone."""
    code = (
        "import logging; from videogpa.cli import main; main(['list', 'measures']); "
        "logging.getLogger('videogpa.training').info('42 pairs')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1:] == ["INFO 42 pairs"]

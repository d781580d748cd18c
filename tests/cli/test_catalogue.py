"""`videogpa list`: short enough for a terminal of 80 columns, complete on request, and quick."""

import subprocess
import sys

import pytest

from videogpa.bundled import recipes_folder
from videogpa.cli import catalogue, main
from videogpa.config.description import settings
from videogpa.critics.cards import CARDS, cards_of
from videogpa.errors import UserError
from videogpa.measures import MEASURES
from videogpa.registry import CRITICS, JUDGES, MODELS, load


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["list", *arguments])
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


NAMES = {
    "critics": list(CRITICS),
    "judges": list(JUDGES),
    "models": list(MODELS),
    "recipes": sorted(path.stem for path in recipes_folder().glob("*.yaml")),
    "measures": list(MEASURES),
    "settings": [setting.name for setting in settings()],
}


@pytest.mark.parametrize("what", NAMES)
def test_a_list_fits_80_columns_and_an_entry_two_lines(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    heading, *lines = printed(capsys, what).rstrip().splitlines()
    table, more = lines[: lines.index("")], lines[-1]
    assert max(len(line.rstrip()) for line in (heading, *lines)) <= 80
    starts = [i for i, line in enumerate(table) if not line.startswith(" ")]
    assert [table[i].split()[0] for i in starts] == NAMES[what]
    assert all(after - before <= 2 for before, after in zip(starts, [*starts[1:], len(table)], strict=True))
    assert more == f"Everything about one of them: videogpa list {what} {NAMES[what][0]}"


@pytest.mark.parametrize("name", CRITICS)
def test_the_details_of_a_critic_hold_its_weights_and_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "critics", name)
    flat = " ".join(shown.split())
    for card in cards_of(name):
        told = (card.weights, card.licence, card.memory, card.paper, card.parameters, card.download)
        assert all(text in flat for text in told if text is not None)
    for option in catalogue.inspect.signature(load(CRITICS, name)).parameters:
        assert f"\n    {option}: " in shown, f"the docstring of {name} does not say what {option} is"


def test_the_details_of_a_model_hold_its_licence(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "models", "cogvideox-t2v")
    for weights in load(MODELS, "cogvideox-t2v").published:
        assert weights.hub_id in shown
    assert "commercial use  after registration" in shown


def test_the_details_of_a_recipe_are_its_file_and_those_of_a_measure_its_direction(capsys: pytest.CaptureFixture[str]) -> None:
    assert "needs: {memory_gib: 4}" in printed(capsys, "recipes", "demo")
    assert "lower" in printed(capsys, "measures", "loo_error")


def test_an_unknown_entry_is_refused_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["list", "critics", "vgg"])
    assert "there is no 'vgg' among the critics; there are: sfm, vggt," in capsys.readouterr().err


def test_settings_are_listed_by_section_and_one_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    heading, *section = printed(capsys, "settings", "train").rstrip().splitlines()
    listed = [line.split()[0] for line in section if not line.startswith(" ")]
    assert listed == [name for name in NAMES["settings"] if name.startswith("train.")]
    assert max(len(line.rstrip()) for line in (heading, *section)) <= 80
    beta = next(setting for setting in settings() if setting.name == "train.beta")
    shown = " ".join(printed(capsys, "settings", "train.beta").split())
    assert all(text in shown for text in (beta.name, beta.default, beta.values))
    assert "near-linear loss" in shown  # the end of its meaning, which the list cuts


def entry(name: str, about: str) -> catalogue.Entry:
    return catalogue.Entry(name, about, lambda: iter((name,)), ("fact",))


def test_a_part_of_a_name_narrows_the_list_and_long_texts_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [entry("train.beta", "word " * 100), entry("train.steps", "steps"), entry("score.critic", "critic")]
    monkeypatch.setitem(catalogue.CATALOGUES, "settings", catalogue.Catalogue(("fact", "about"), lambda: entries))
    table = catalogue.show("settings", "train")
    assert list(table.columns[0].cells) == [catalogue.Text("train.beta"), catalogue.Text("train.steps")]
    first, second = str(next(iter(table.columns[-1].cells))).splitlines()
    assert second.endswith("word …")
    assert len(first) <= 80 - len("train.steps") - len("fact") - 4
    with pytest.raises(UserError, match=r"train\.beta, train\.steps, score\.critic"):
        catalogue.show("settings", "trai")


def test_every_critic_of_this_package_has_its_cards_in_the_table() -> None:
    assert set(CARDS) == {name for name, plugin in CRITICS.items() if plugin.distribution is None}
    assert all(load(CRITICS, name).CARDS is CARDS[name] for name in CARDS)


def test_docstrings_are_wrapped_and_code_is_kept() -> None:
    prose = "A sentence that\ngoes on.\n\n- A point\n  of two lines.\n- Another."
    text = f"{prose}\n\nArgs:\n    one: First\n        thing.\n    two: Second.\n\n    code(1)"
    assert catalogue.reflow(text).splitlines() == [
        "A sentence that goes on.",
        "",
        "- A point of two lines.",
        "- Another.",
        "",
        "Args:",
        "    one: First thing.",
        "    two: Second.",
        "",
        "    code(1)",
    ]


def test_critics_and_measures_are_listed_without_loading_torch() -> None:
    code = (
        "import sys; from videogpa.cli import main\n"
        "for what in ('critics', 'judges', 'models', 'measures'): main(['list', what])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'diffusers', 'pycolmap')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0

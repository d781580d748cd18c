"""Hostile recipes and settings: each is read rightly or refused in a sentence, and what is accepted survives being written."""

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from attempts import TABLE, attempt, shell
from hypothesis import example, given
from hypothesis import strategies as st

from videogpa.bundled import recipes_folder
from videogpa.config import Recipe, load_recipe, score_config, with_settings
from videogpa.config.description import settings
from videogpa.config.yaml_text import read_yaml
from videogpa.errors import UserError

SHIPPED = sorted(recipes_folder().glob("*.yaml"))
TEXTS = [path.read_text(encoding="utf-8") for path in SHIPPED]
NAMES = [setting.name for setting in settings()]

HOSTILE_SCALARS = [
    *("!!bool foo", "!!python/object/apply:os.system [id]", "!!binary aGk=", "!!timestamp x", "!!int x", "!x y", "! z"),
    *("2024-13-45", "2024-02-30T99:99:99", "12:30:45", "010", "0x" + "f" * 40, "9" * 5000, "-" + "9" * 5000, "1e999"),
    *(".inf", "-.inf", ".nan", "1_0", "0b2", "~", "", "null", "yes", "No", "=", "<<", "[", "]", "{", "}", ":", "- -", "? ?"),
    *("&a [*a]", "&a {x: *a}", "*a", "&a 1", "[" * 500, "{a: " * 500, "[[[[[[[[[[[[[[1]]]]]]]]]]]]]]", "- " * 300),
    *('"\\0"', '"\\x1b[31m"', '"\\ud800"', "'\u2028'", "\x85", "{1: 2}", "{? [a] : b}", "{a: 1, a: 2}"),
    *(
        "--- 1\n--- 2",
        "...\n1",
        "%YAML 9.9\n--- 1",
        "%TAG ! tag:x,1:\n--- !a b",
        "a\n b: c",
        "\tx",
        "@x",
        "`x",
        "|\n x",
        ">-\n x",
    ),
    *("-1", "0", "1", str(2**31), str(2**63), str(2**64), str(-(2**63)), "1000000000", "1e-400", "0.5", "true", "x" * 3000),
    *(
        "meta",
        "cuda:999999999999",
        "tpu:0",
        "vulkan",
        "cpu:0:0",
        "../../../etc/passwd",
        "/dev/zero",
        "~nobody-here/x",
        "/proc/self/mem",
    ),
]

pieces = st.one_of(
    st.sampled_from(HOSTILE_SCALARS),
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.text(alphabet=st.characters(max_codepoint=0xA0), max_size=12),
)


@st.composite
def yaml_texts(draw: st.DrawFn) -> str:
    """Mappings and lists in block and flow style, with hostile keys and values."""
    lines = []
    for _ in range(draw(st.integers(0, 6))):
        indent = " " * draw(st.sampled_from([0, 0, 2, 2, 4]))
        key = draw(st.one_of(st.sampled_from(["name", "model", "prompts", "train", "seed", "world", "a"]), pieces))
        lines.append(f"{indent}{draw(st.sampled_from(['', '- ', '? ', '&x ', '!!map ']))}{key}: {draw(pieces)}")
    return "\n".join(lines)


@st.composite
def mutated_recipes(draw: st.DrawFn) -> bytes:
    """A shipped recipe with a hostile piece in the place of something, a part left out, doubled or cut off, in any encoding."""
    text = draw(st.sampled_from(TEXTS))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    piece = draw(st.one_of(pieces, st.just(""), st.just(text[start:end] * 3), st.just("\0"), st.just("\x1b[2J")))
    text = text[:start] + piece + draw(st.sampled_from([text[end:], text[end:], text[end:], ""]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"]))
    return text.encode(encoding, "replace") + draw(st.sampled_from([b"", b"", b"", b"\xff\xfe\x80", b"\0" * 9]))


def _survives(recipe: Recipe) -> None:
    """Written and read again it is the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), allow_unicode=True), encoding="utf-8")
        assert load_recipe(path) == recipe


def _load(content: bytes) -> Recipe:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_bytes(content)
        return load_recipe(path)


@given(yaml_texts())
@example("a: &a [*a]")
@example("a: 1\nb: 2\na: 3")
def test_any_text_is_read_as_plain_values_or_refused(text: str) -> None:
    def plain(value: Any) -> None:
        assert isinstance(value, str | int | float | bool | None | list | dict)
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            assert isinstance(key, str | int)
            plain(inner)

    attempt("recipes: YAML", lambda: read_yaml(text, "the recipe"), check=plain)
    attempt("recipes: files", lambda: _load(text.encode("utf-8", "surrogatepass")), check=_survives)


@given(mutated_recipes())
def test_a_shipped_recipe_with_a_hostile_piece_is_read_or_refused(content: bytes) -> None:
    attempt("recipes: files", lambda: _load(content), check=_survives)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_recipe_or_refused(content: bytes) -> None:
    attempt("recipes: files", lambda: _load(content), check=_survives, names="recipe.yaml")


@given(st.sampled_from(SHIPPED), st.lists(st.tuples(st.sampled_from(NAMES), pieces), min_size=1, max_size=3))
def test_any_setting_takes_any_value_or_refuses_it(path: Path, given_: list[tuple[str, str]]) -> None:
    attempt("settings", lambda: load_recipe(path, [f"{name}={value}" for name, value in given_]), check=_survives)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=3), st.just(Path("a\0b"))
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.text(max_size=4), st.integers()), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from(SHIPPED),
    st.sampled_from([*NAMES, "train", "score.options", "evaluate.options", "prompts.world", "", "a..b", "."]),
    VALUES,
)
def test_any_setting_from_python_is_taken_or_refused(path: Path, name: str, value: Any) -> None:
    attempt("settings", lambda: load_recipe(path, {name: value}), check=_survives)


@given(st.text(max_size=30))
def test_a_setting_of_any_form_is_refused_by_name(text: str) -> None:
    attempt("settings", lambda: load_recipe(SHIPPED[0], [text]))


@pytest.mark.parametrize("critic", ["sfm", "vggt", "da3", "oracle", "mixed"])
@given(
    st.sampled_from(["weights", "crop", "side", "device", "depth_noise", "depth", "drop_fraction", "depth_options", "x"]),
    VALUES,
)
def test_any_option_of_a_critic_is_taken_or_refused(critic: str, name: str, value: Any) -> None:
    attempt("settings", lambda: score_config(critic=critic, options={name: value}))


@pytest.mark.parametrize("value", [-1, 2**63 - 1, 2**70, 10**9, float("inf"), "meta", "a\0b", "\udcff", [[[]]], {}], ids=ascii)
def test_no_setting_takes_what_memory_or_time_cannot_hold(value: Any) -> None:
    recipe = load_recipe("smoke-test")
    for name in NAMES:
        attempt("settings", lambda name=name: with_settings(recipe, {name: value}), check=_survives)


def test_every_listed_value_of_a_setting_is_taken_or_refused_by_the_shell() -> None:
    for value in HOSTILE_SCALARS[:: 1 if TABLE else 5]:
        attempt("settings", lambda value=value: shell("prompts", "smoke-test", "--set", f"name={value}"))


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


GROWING = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
FILES = {
    "pipe": (_fifo, "a pipe, a device or a socket"),
    "socket": (_socket, "a pipe, a device or a socket"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a pipe, a device or a socket"),
    "folder": (lambda path: (path / "recipe.yaml").mkdir(parents=True), "is a folder"),
    "loop": (lambda path: path.symlink_to(path), "no recipe at"),
    "sparse file of a terabyte": (lambda path: [path.touch(), os.truncate(path, 1 << 40)], "bytes; a recipe may have"),
    "kernel log": (lambda path: path.symlink_to("/proc/kmsg"), ""),
    "zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(40)), "a zip archive"),
    "pickle": (lambda path: path.write_bytes(b"\x80\x04\x95\x0b."), "a pickle"),
    "video": (lambda path: path.write_bytes(b"\0\0\0\x20ftypisom"), "a video"),
    "git-lfs pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        "git lfs pull",
    ),
    "empty": (lambda path: path.touch(), "is not a recipe"),
    "UTF-16 without a mark": (lambda path: path.write_bytes(TEXTS[0].encode("utf-16-le")), "NUL"),
    "aliases that grow": (
        lambda path: path.write_text(
            "a: &a [x,x]\n" + "".join(f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
        ),
        "line 2: an alias",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_recipe_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    make, complaint = FILES[kind]
    path = tmp_path / "r"
    make(path)
    for call in (lambda: load_recipe(path), lambda: shell("run", str(path))):
        message = attempt("recipes: files", call, expect="clear sentence", names=str(path), seconds=20)
        assert complaint in str(message)


@pytest.mark.parametrize(
    "path", ["a\0b", "x" * 5000, "~nobody/x.yaml", "../" * 3000, "\udcff.yaml", "con", "", "smoke-test/../demo"], ids=ascii
)
def test_a_name_of_any_form_that_is_no_recipe_is_refused(path: str) -> None:
    attempt("recipes: files", lambda: load_recipe(path), expect="clear sentence")


def test_marks_of_the_byte_order_are_read() -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        loaded = attempt("recipes: files", lambda encoding=encoding: _load(TEXTS[0].encode(encoding)), expect="right result")
        assert isinstance(loaded, Recipe)


def test_nothing_of_a_recipe_is_run(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    for tag in ("python/object/apply:os.system", "python/object/new:os.system", "python/name:os.system", "python/module:os"):
        with pytest.raises(UserError, match="a tag"):
            read_yaml(f"!!{tag} ['touch {trap}']", "x")
    assert not trap.exists()

"""What the table of tries counts, and what it does not let pass."""

from collections import Counter
from pathlib import Path

import attempts
import pytest
from attempts import attempt, shell

from videogpa.errors import InvalidInput, UserError


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    fresh: Counter[tuple[str, str]] = Counter()
    monkeypatch.setattr(attempts, "COUNTS", fresh)
    return fresh


def _raise(error: BaseException) -> None:
    raise error


def test_a_result_and_a_sentence_are_counted_apart(counts: Counter[tuple[str, str]]):
    assert attempt("x", lambda: 3, check=lambda n: n == 3) == 3
    assert attempt("x", lambda: _raise(InvalidInput("a.yaml: no such setting")), names="a.yaml") == "a.yaml: no such setting"
    assert +counts == Counter({("x", "right result"): 1, ("x", "clear sentence"): 1})


@pytest.mark.parametrize(
    "error", [KeyError("x"), UserError(""), UserError("Traceback (most recent call last)"), UserError("z" * 3000)], ids=repr
)
def test_anything_else_fails_and_counts_as_other(counts: Counter[tuple[str, str]], error: Exception):
    with pytest.raises((KeyError, AssertionError)):
        attempt("x", lambda: _raise(error))
    assert +counts == Counter({("x", "other"): 1})


def test_a_hang_is_ended(counts: Counter[tuple[str, str]]):
    def hang() -> None:
        while True:
            pass

    with pytest.raises(attempts.Hang):
        attempt("x", hang, seconds=1)
    assert counts["x", "other"] == 1


def test_a_command_that_fails_raises_what_it_printed(counts: Counter[tuple[str, str]]):
    assert attempt("x", lambda: shell("run", "no-such-recipe"), expect="clear sentence", names="no-such-recipe")
    assert attempt("x", lambda: shell("list", "recipes"), expect="right result", check=lambda ran: "smoke-test" in ran.out)


def test_the_table_sums_over_kinds(tmp_path: Path):
    attempts.write_table(tmp_path / "t.md", Counter({("a", "right result"): 2, ("b", "clear sentence"): 3}))
    assert (tmp_path / "t.md").read_text(encoding="utf-8").splitlines()[2:] == [
        "| a | 2 | 2 | 0 | 0 |",
        "| b | 3 | 0 | 3 | 0 |",
        "| all | 5 | 2 | 3 | 0 |",
    ]

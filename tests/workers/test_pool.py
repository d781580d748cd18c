"""The map over items, in this process."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest

from videogpa.config import WorkersConfig
from videogpa.records import Pair
from videogpa.storage.manifests import Manifest
from videogpa.workers import map_items, open_pool, progress

progress_module = import_module("videogpa.workers.progress")


def test_results_come_in_order_and_one_by_one() -> None:
    made: list[int] = []

    def work(item: int) -> int:
        made.append(item)
        return item**2

    results = map_items(work, [3, 1, 2], label="squares")
    assert isinstance(results, Iterator)
    assert next(results) == 9
    assert made == [3]  # nothing is made before it is asked for: a row is written before the next clip begins
    assert list(results) == [1, 4]


def test_nothing_to_do() -> None:
    assert list(map_items(str, [], label="nothing")) == []


def test_an_error_ends_the_map_after_what_was_finished() -> None:
    def work(item: int) -> float:
        return 1 / item

    results = map_items(work, [1, 0, 2], label="inverses")
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_a_log_file_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, logger="videogpa.workers.progress")
    assert list(map_items(str, range(5), label="quick")) == ["0", "1", "2", "3", "4"]
    assert not caplog.messages
    monkeypatch.setattr(progress_module, "_LOG_SECONDS", 0.0)
    with progress("slow", 5, done=3) as advance:
        advance("loss 1")
        advance("loss 2")
    assert caplog.messages == ["slow: 4 of 5 loss 1", "slow: 5 of 5 loss 2"]
    assert capfd.readouterr() == ("", "")


LOADED: list[str] = []


@dataclass(frozen=True)
class Doubling:
    name: str
    loaded: list[str] = field(default_factory=lambda: LOADED, compare=False)

    def load(self) -> Callable[[int], int]:
        self.loaded.append(self.name)
        return lambda item: 2 * item


def test_equal_works_share_what_they_load_and_nothing_loads_for_nothing() -> None:
    LOADED.clear()
    with open_pool(WorkersConfig()) as crew:
        assert list(crew.map(Doubling("a"), [], label="none")) == []
        assert LOADED == []
        assert list(crew.map(Doubling("a"), [1, 2], label="first")) == [2, 4]
        assert list(crew.map(Doubling("a"), [3], label="more of it")) == [6]
        assert list(crew.map(Doubling("b"), [4], label="another")) == [8]
    assert LOADED == ["a", "b"]


def test_rows_are_written_as_they_come_and_settled_in_the_order_of_the_list(tmp_path: Path) -> None:
    rows = Manifest(tmp_path / "pairs.jsonl", Pair, "prompt")
    wanted = {"a": "1", "b": "2", "c": "3"}

    def make(keys: list[str]) -> Iterator[Pair]:
        for number, key in enumerate(reversed(keys)):
            assert len(rows.rows()) == number  # the one before is on disk
            yield Pair(prompt=key)

    assert [(row.prompt, row.fingerprint) for row in rows.update(wanted, make)] == list(wanted.items())
    assert [row.prompt for row in rows.rows()] == ["a", "b", "c"]
    with pytest.raises(ZeroDivisionError):
        rows.update({**wanted, "b": "4"}, lambda keys: [Pair(prompt=key, gap=1 / (len(keys) - 1)) for key in keys])
    assert [(row.prompt, row.fingerprint) for row in rows.rows()] == list(wanted.items())  # until a new one is there
    rows.update({"c": "3", "a": "1"}, lambda keys: pytest.fail("nothing is left"))
    assert [row.prompt for row in rows.rows()] == ["c", "a"]


@pytest.mark.slow
def test_one_worker_does_not_import_ray() -> None:
    code = """
import sys, videogpa.cli, videogpa.stages.generate, videogpa.stages.score, videogpa.stages.encode, videogpa.stages.evaluate
from videogpa.config import WorkersConfig
from videogpa.workers import open_pool
with open_pool(WorkersConfig()):
    sys.exit("ray" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

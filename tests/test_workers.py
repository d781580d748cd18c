"""The map over items."""

import logging
from collections.abc import Iterator

import pytest

from videogpa import workers
from videogpa.workers import map_items, progress


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
    caplog.set_level(logging.INFO, logger="videogpa.workers")
    assert list(map_items(str, range(5), label="quick")) == ["0", "1", "2", "3", "4"]
    assert not caplog.messages
    monkeypatch.setattr(workers, "_LOG_SECONDS", 0.0)
    with progress("slow", 5, done=3) as advance:
        advance("loss 1")
        advance("loss 2")
    assert caplog.messages == ["slow: 4 of 5 loss 1", "slow: 5 of 5 loss 2"]
    assert capfd.readouterr() == ("", "")

"""Few generated inputs in `make test`, many in `make abuse`, the same ones every time; and the table of how they ended."""

from collections import Counter
from pathlib import Path
from typing import Any

import attempts
import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

_ALL: Counter[tuple[str, str]] = Counter()
_KILLS: Counter[tuple[str, str]] = Counter()
_same = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("few", max_examples=4, **_same)
settings.register_profile("many", max_examples=100, **_same)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Choose how many inputs the tests of this folder generate. A profile loaded now would come after their decorators."""
    chosen = settings.get_profile("many" if attempts.TABLE else "few")
    here = [item for item in items if isinstance(item, pytest.Function) and item.path.parent == Path(__file__).parent]
    for test in {item.function for item in here if is_hypothesis_test(item.function)}:
        chosen(test)


@pytest.fixture(autouse=True, scope="session")
def _hand_over(request: pytest.FixtureRequest) -> Any:
    """At the end of a process, hand its counts to the one that writes the table."""
    yield
    config = request.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["attempts"] = attempts.dumped(attempts.COUNTS)
        config.workeroutput["kills"] = attempts.dumped(attempts.KILLS)
    else:
        _ALL.update(attempts.COUNTS)
        _KILLS.update(attempts.KILLS)


class _Gather:
    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", {})
        _ALL.update(attempts.loaded(output.get("attempts", "[]")))
        _KILLS.update(attempts.loaded(output.get("kills", "[]")))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if attempts.TABLE and _ALL:
            attempts.write_table(Path(attempts.TABLE), _ALL)
            terminalreporter.write_line(Path(attempts.TABLE).read_text(encoding="utf-8"))
        if attempts.TABLE and _KILLS:
            kills = Path(attempts.TABLE).with_name("kills.md")
            attempts.write_kills(kills, _KILLS)
            terminalreporter.write_line(kills.read_text(encoding="utf-8"))


def pytest_configure(config: pytest.Config) -> None:
    """Gather the counts of all processes."""
    config.pluginmanager.register(_Gather())

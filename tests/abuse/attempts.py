"""Tries of what careless users, strangers and attackers do: how each ended, and the table of all of them."""

import contextlib
import io
import json
import logging
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from videogpa import cli
from videogpa.errors import UserError

T = TypeVar("T")
End = Literal["right result", "clear sentence"]

ENDS = ("right result", "clear sentence", "other")
COUNTS: Counter[tuple[str, str]] = Counter()
"""(kind of input, how the try ended) -> number of tries of this process."""
KILLS: Counter[tuple[str, str]] = Counter()
"""(stage, signal) -> kills of this process; (stage, "survived") -> those after which it ended as if it had not been killed."""
_NOT_A_SENTENCE = re.compile(r"Traceback|should not have happened|object at 0x|<class |^\s*$")
_LONGEST = 2000  # characters of a message: a dump of what was given is no sentence


@dataclass(frozen=True)
class Ran:
    """A command that ran to its end in this process."""

    status: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The error that it printed, on one line."""
        return " ".join(self.err.partition("error: ")[2].split())


class Hang(BaseException):
    """A try took longer than it may; no `except Exception` may swallow it."""


def attempt(
    kind: str,
    call: Callable[[], T],
    *,
    expect: End | None = None,
    check: Callable[[T], object] | None = None,
    names: str = "",
    seconds: int = 30,
) -> T | str:
    """Try something and count how it ends. Anything but a right result or a clear sentence fails the test.

    Args:
        kind: The kind of input, which is the line of the table: "clips", "recipes", ...
        call: What is tried. It returns, or raises a `UserError` whose message is the clear sentence.
        expect: How it must end; None if both ends are right.
        check: Asserts that what it returned is right.
        names: A text that a clear sentence must hold, such as the name of the file or setting that is wrong.
        seconds: How long it may take.

    Returns:
        What `call` returned, or the message of its `UserError`.
    """
    COUNTS[kind, "other"] += 1  # until the try has ended well
    end: str
    result: T | str
    try:
        with _time_limit(seconds):
            result = call()
        if check is not None:
            check(result)
        end = "right result"
    except UserError as error:
        result = str(error)
        assert not _NOT_A_SENTENCE.search(result), f"no clear sentence: {result!r}"
        assert len(result) <= _LONGEST, f"a dump of {len(result)} characters is no sentence: {result[:300]!r}"
        assert names in result, f"{result!r} does not name {names!r}"
        end = "clear sentence"
    assert expect is None or end == expect, f"expected a {expect}; got a {end}: {result!r}"
    COUNTS[kind, "other"] -= 1
    COUNTS[kind, end] += 1
    return result


def shell(*arguments: str) -> Ran:
    """Run a command of the command line in this process; a clear error is raised as the `UserError` that `attempt` counts.

    Raises:
        UserError: With what the command printed after "error:", or the whole of standard error, if its status is not 0.
    """
    ran = run_shell(*arguments)
    if ran.status != 0:
        raise UserError(ran.message or ran.err)
    return ran


def run_shell(*arguments: str) -> Ran:
    """Run a command of the command line in this process, and return its exit status and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(err)
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        logging.getLogger().addHandler(handler)
        try:
            cli.main(list(arguments))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            logging.getLogger().removeHandler(handler)
    return Ran(status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise Hang(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def write_table(path: Path, counts: Counter[tuple[str, str]]) -> None:
    """Write the counts of all processes as a table in Markdown: a line per kind of input, and their sum."""
    kinds = sorted({kind for kind, _ in counts})
    lines = ["| kind of input | tried | " + " | ".join(ENDS) + " |", "|---|" + "---:|" * (len(ENDS) + 1)]
    for kind in [*kinds, "all"]:
        of = [sum(n for (k, e), n in counts.items() if e == end and kind in (k, "all")) for end in ENDS]
        lines.append(f"| {kind} | {sum(of)} | " + " | ".join(map(str, of)) + " |")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_kills(path: Path, counts: Counter[tuple[str, str]]) -> None:
    """Write the kills of all processes as a table in Markdown: a line per stage, and their sum."""
    signals = ("KILL", "TERM", "INT")
    lines = ["| stage | " + " | ".join(signals) + " | tried | survived |", "|---|" + "---:|" * (len(signals) + 2)]
    for stage in [*dict.fromkeys(sorted(stage for stage, _ in counts)), "all"]:
        of = {column: sum(n for (s, c), n in counts.items() if c == column and stage in (s, "all")) for _, column in counts}
        tried = [of.get(name, 0) for name in signals]
        lines.append(f"| {stage} | " + " | ".join(map(str, [*tried, sum(tried), of.get("survived", 0)])) + " |")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def dumped(counts: Counter[tuple[str, str]]) -> str:
    """Return counts as a text that one process sends to another."""
    return json.dumps([[*key, n] for key, n in counts.items()])


def loaded(text: str) -> Counter[tuple[str, str]]:
    """Read what `dumped` wrote."""
    return Counter({(kind, end): n for kind, end, n in json.loads(text)})


TABLE = os.environ.get("ABUSE_TABLE")  # where `make abuse` wants the table

"""Serving a study: loopback alone, whose answers are whose, and nothing lost to a kill."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from people import answered

from videogpa.errors import InvalidInput, UserError
from videogpa.study.answers import find_answers, read_answers
from videogpa.study.records import Answers, Key
from videogpa.study.serve import addresses, open_server

Reply = tuple[int, bytes, dict[str, str]]


@pytest.fixture
def served(study: Path, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A study of one's own that is being served: its folder and the port."""
    folder = Path(shutil.copytree(study, tmp_path / "study"))
    (folder / "page/clips").mkdir()
    with open_server(folder, 0) as server:
        item = next(iter(server.collection.key.items))
        (folder / "page/clips" / f"{item}.mp4").write_bytes(bytes(range(200)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        assert all(address.startswith("http://127.0.0.1:") for address in addresses(server).values())
        assert server.socket.getsockname()[0] == "127.0.0.1"
        try:
            yield folder, server.server_port
        finally:
            server.shutdown()
            thread.join()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    given = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, given)
        reply = connection.getresponse()
        return reply.status, reply.read(), dict(reply.getheaders())
    finally:
        connection.close()


def part(answers: Answers, count: int, **changes: object) -> bytes:
    content = answers.model_dump(mode="json")
    return json.dumps(content | {"answers": content["answers"][:count]} | changes).encode()


def test_the_page_and_its_videos_are_served_and_nothing_else(served: tuple[Path, int], key: Key):
    folder, port = served
    item = next(iter(key.items))
    assert ask(port, "GET", f"/{key.study}/")[1] == (folder / "page/study.html").read_bytes()
    status, body, headers = ask(port, "GET", f"/{key.study}/clips/{item}.mp4", Range="bytes=10-19")
    assert (status, body, headers["Content-Range"]) == (206, bytes(range(10, 20)), "bytes 10-19/200")
    assert ask(port, "GET", f"/{key.study}/clips/{item}.mp4", Range="bytes=190-")[1] == bytes(range(190, 200))
    assert ask(port, "GET", f"/{key.study}/clips/{item}.mp4", Range="bytes=500-")[0] == 416
    for path in ("/", "/key.json", f"/{key.study}/../key.json", f"/{key.study}/clips/..%2f..%2fkey.json", "/other/"):
        assert ask(port, "GET", path)[0] == 404
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1"):
        assert ask(port, "GET", f"/{key.study}/", Host=host)[0] == 421


def test_answers_are_kept_and_grow_and_belong_to_one_browser(served: tuple[Path, int], key: Key):
    folder, port = served
    rater, other, _ = key.raters
    answers = answered(key, rater, lambda item: "aligned")
    where = f"/{key.study}/answers"
    assert ask(port, "POST", where, part(answers, 2))[0] == 200
    assert ask(port, "POST", where, part(answers, 5), Origin=f"http://127.0.0.1:{port}")[0] == 200
    for body, says in (
        (part(answers, 3), b"fewer answers than have arrived already"),
        (part(answers, 7, browser="c1c1c1c1"), b"in use in another browser"),
    ):
        status, text, _ = ask(port, "POST", where, body)
        assert (status, says in text) == (409, True)
    assert ask(port, "POST", where, part(answered(key, other, lambda item: None), 1))[0] == 200
    kept = {each.rater: len(each.answers) for each in read_answers(find_answers([folder]), key, unfinished=True)}
    assert kept == {rater: 5, other: 1}


def test_what_is_no_answer_is_refused_in_a_sentence_and_changes_nothing(served: tuple[Path, int], key: Key):
    folder, port = served
    good = part(answered(key, next(iter(key.raters)), lambda item: None), 1)
    where = f"/{key.study}/answers"
    tries: list[tuple[int, bytes, dict[str, str]]] = [
        (400, b"{", {}),
        (400, b"\xff\xfe", {}),
        (400, good.replace(key.study.encode(), b"another"), {}),
        (400, b"[" * 100_000, {}),
        (403, good, {"Origin": "http://evil.example"}),
        (415, good, {"Content-Type": "text/plain"}),
        (413, b" " * (1 << 20) + good, {}),
        (411, good, {"Content-Length": "many"}),
        (421, good, {"Host": "evil.example"}),
    ]
    for status, body, headers in tries:
        found, text, _ = ask(port, "POST", where, body, **{name.replace("-", "_"): value for name, value in headers.items()})
        assert found == status, text
        assert 10 < len(text) < 1000
        assert b"Traceback" not in text
    assert ask(port, "POST", "/answers", good)[0] == 404
    assert not (folder / "answers").exists()


def test_a_study_is_served_once_and_a_port_that_is_taken_is_said(served: tuple[Path, int], study: Path, tmp_path: Path):
    folder, port = served
    with pytest.raises(UserError, match="being served already"), open_server(folder, 0):
        pass
    other = Path(shutil.copytree(study, tmp_path / "other"))
    with pytest.raises(InvalidInput, match=f"port {port} cannot be had"), open_server(other, port):
        pass
    with pytest.raises(UserError, match="is no study"), open_server(tmp_path, 0):
        pass


@pytest.mark.parametrize("name", [".lock", "answers", "page/study.html"])
def test_a_link_that_leads_out_of_a_study_is_refused_and_nothing_is_read_or_written_there(
    name: str, study: Path, tmp_path: Path
):
    folder, outside = Path(shutil.copytree(study, tmp_path / "study")), tmp_path / "outside"
    outside.write_text("private")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    with pytest.raises(InvalidInput, match="is a link that leads out of the study folder"), open_server(folder, 0):
        pass
    assert outside.read_text() == "private"


def start(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    code = f"from pathlib import Path; from videogpa.study.serve import serve; serve(Path({str(folder)!r}), {port})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is not of Windows")
def test_a_killed_server_has_lost_nothing_that_it_said_was_kept(study: Path, key: Key, tmp_path: Path):
    folder = Path(shutil.copytree(study, tmp_path / "study"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arrived: dict[str, int] = {}

    def send(rater: str) -> None:
        answers = answered(key, rater, lambda item: "base")
        changed = [answers.model_dump(mode="json") for _ in range(2)]
        for number in range(100_000):  # the time of an answer changes, so that every request is written
            count = min(1 + number // 5, len(key.raters[rater]))
            changed[0]["answers"][0]["seconds"] = float(number)
            body = json.dumps(changed[0] | {"answers": changed[0]["answers"][:count]}).encode()
            try:
                if ask(port, "POST", f"/{key.study}/answers", body)[0] == 200:
                    arrived[rater] = number
            except (OSError, http.client.HTTPException):
                return

    for enough in (9, 14):
        arrived.clear()
        shutil.rmtree(folder / "answers", ignore_errors=True)
        process = start(folder, port)
        threads = [threading.Thread(target=send, args=(rater,)) for rater in key.raters]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60
        while sum(arrived.values()) < enough and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for thread in threads:
            thread.join()
        kept = {each.rater: each for each in read_answers(find_answers([folder]), key, unfinished=True)}
        assert kept.keys() >= arrived.keys()
        assert arrived
        assert all(kept[rater].answers[0].seconds >= number for rater, number in arrived.items())
    with open_server(folder, port) as server:  # the next one goes on from there
        assert {rater: done for rater, (done, _) in server.collection.counts().items() if done} == {
            rater: len(each.answers) for rater, each in kept.items()
        }
        assert not [path for path in (folder / "answers").iterdir() if path.name.startswith(".")]

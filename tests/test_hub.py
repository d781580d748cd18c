"""What a hub answers becomes a sentence: a server on this machine answers as the real one does."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from videogpa import hub
from videogpa.errors import UserError

ANSWERS = {
    "gated/model": (403, "GatedRepo"),
    "missing/model": (404, "RepoNotFound"),
    "private/model": (401, "RepoNotFound"),
    "revised/model": (404, "RevisionNotFound"),
    "broken/model": (400, ""),
}


class Answer(BaseHTTPRequestHandler):
    """Refuses every repository in its own way."""

    def do_GET(self) -> None:
        name = next((name for name in ANSWERS if name in self.path), "")
        status, code = ANSWERS.get(name, (200, ""))
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield address
        running.shutdown()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gated/model", r"gated/model is gated: accept its licence .*`hf auth login`"),
        ("missing/model", r"missing/model is neither a folder .* nor a model on the hub"),
        ("private/model", r"private/model is neither .*\(or one that needs a login\)"),
        ("revised/model", r"revised/model has no revision 'v2' on the hub"),
        ("broken/model", r"broken/model could not be fetched from the hub .*`hf download broken/model --local-dir model`"),
    ],
)
@pytest.mark.usefixtures("server")
def test_a_refusal_says_why(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        hub.fetch(name, patterns=["*.json"], setting="model.path", revision="v2")


def test_a_server_answers_or_not(server: str) -> None:
    assert hub.answers(server)
    assert hub.answers(f"{server}/missing/model")  # a refusal is an answer
    assert not hub.answers("http://127.0.0.1:9")  # nobody listens there
    assert not hub.answers("no address")


def test_a_name_of_the_hub_is_told_from_a_path() -> None:
    assert all(hub.is_hub_id(name) for name in ("owner/name", "zai-org/CogVideoX-5b-I2V", "a/VGGT_1.0"))
    paths = ("a", "a/b/c", "/a/b", "./a", "../b", "~/b", "a/b/", "a/", "/b", "a\\b", "a/b.", "é/b", "a/b\0", "a/" + "b" * 99)
    assert not any(hub.is_hub_id(path) for path in paths)

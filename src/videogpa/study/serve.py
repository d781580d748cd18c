"""Serve a study on this machine alone, and collect the answers: one file per rater, written whole after every pair.

The server listens on the loopback address. It answers only requests that name it by that address, which keeps out web pages
that have a name of theirs lead to it, and takes answers only from its own page. A rater's answers belong to the browser that
began them; they grow, and are never replaced by fewer ones.
"""

import errno
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from filelock import FileLock, Timeout

from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.storage.files import is_leftover, remove, require_regular, write_text
from videogpa.storage.run_folder import LOCK, refuse_links
from videogpa.study.answers import check_answers, parse_json, read_answers, read_key
from videogpa.study.records import ANSWERS, INDEX, MEDIA, PAGE, Answers, Key
from videogpa.text_files import shown

HOST, PORT = "127.0.0.1", 8437
LARGEST = 1 << 20  # bytes of a rater's answers
_PATIENCE = 30  # seconds that a request may keep the server waiting
_AT_ONCE = 1 << 16  # bytes
_LENGTH = re.compile(r"[0-9]{1,12}")

_log = logging.getLogger(__name__)


class Refused(UserError):  # noqa: N818 - the end of a request
    """A request is not granted."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Collection:
    """The answers of a study, in its folder."""

    def __init__(self, folder: Path) -> None:
        self.key = read_key(folder)
        self.folder = folder
        self._writing = threading.Lock()

    def file(self, rater: str) -> Path:
        """Return the file of a rater's answers."""
        return self.folder / ANSWERS / f"{rater}.json"

    def take(self, content: object) -> Answers:
        """Keep a rater's answers.

        Raises:
            InvalidInput: If they are no answers to this study.
            Refused: If the rater's answers come from another browser, or fewer are given than there were.
        """
        answers = check_answers(content, self.key, "the request")
        file = self.file(answers.rater)
        with self._writing:
            before = read_answers([file], self.key, unfinished=True)[0] if file.exists() else None
            if before is not None and before.browser != answers.browser:
                raise Refused(
                    HTTPStatus.CONFLICT, "this code is in use in another browser: go on there, or ask for another code"
                )
            if before is not None and {a.trial for a in before.answers} - {a.trial for a in answers.answers}:
                raise Refused(HTTPStatus.CONFLICT, "fewer answers than have arrived already")
            if answers != before:
                write_text(file, json.dumps(answers.model_dump(mode="json"), indent=1) + "\n")
        return answers

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return for each rater how many pairs are answered, and of how many."""
        files = {rater: self.file(rater) for rater in self.key.raters}
        done = {
            rater: len(read_answers([file], self.key, unfinished=True)[0].answers) if file.exists() else 0
            for rater, file in files.items()
        }
        return {rater: (done[rater], len(trials)) for rater, trials in self.key.raters.items()}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, collection: Collection) -> None:
        self.collection = collection
        super().__init__((HOST, port), _Handler)

    @property
    def names(self) -> tuple[str, str]:
        """What requests may call the server."""
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    _sent = b""
    server_version, sys_version = "videogpa", ""

    def do_GET(self) -> None:
        """Answer with the page or a video of it."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Take answers."""
        self._answer(self._post)

    def _answer(self, granted: Callable[[], None]) -> None:
        try:
            self._sent = self._read()
            if self.headers.get("Host") not in self.server.names:
                raise Refused(HTTPStatus.MISDIRECTED_REQUEST, f"this server is called {self.server.names[0]}")
            granted()
        except Refused as refused:
            self._text(refused.status, str(refused))
        except UserError as error:
            self._text(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            if isinstance(error, ConnectionError | TimeoutError):
                self.close_connection = True
                return
            _log.warning("a request could not be answered: %s", error)
            self._text(HTTPStatus.INTERNAL_SERVER_ERROR, "the answers could not be written")

    def _read(self) -> bytes:
        """Return what was sent, or a part that is larger than it may be: a refusal arrives only after what was sent is read."""
        length = self.headers.get("Content-Length", "")
        return self.rfile.read(min(int(length), 4 * LARGEST)) if _LENGTH.fullmatch(length) else b""

    def _get(self) -> None:
        study = self.server.collection.key.study
        page = self.server.collection.folder / PAGE
        path = self.path.partition("?")[0]
        video = re.fullmatch(rf"/{study}/{MEDIA}/([0-9a-z]+)\.mp4", path)
        if path == f"/{study}/":
            self._file(page / INDEX, "text/html; charset=utf-8")
        elif video is not None and video[1] in self.server.collection.key.items:
            self._file(page / MEDIA / f"{video[1]}.mp4", "video/mp4")
        else:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _post(self) -> None:
        if self.path != f"/{self.server.collection.key.study}/answers":
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        if self.headers.get("Origin", f"http://{self.headers['Host']}") not in {f"http://{name}" for name in self.server.names}:
            raise Refused(HTTPStatus.FORBIDDEN, "answers are taken from this server's own page alone")
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        length = self.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(length):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if int(length) > LARGEST:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"answers may have {LARGEST:,} bytes, got {int(length):,}")
        try:
            text = self._sent.decode()
        except UnicodeDecodeError:
            raise InvalidInput("the request is not UTF-8 text") from None
        answers = self.server.collection.take(parse_json(text, "the request", "a rater's answers"))
        self._text(HTTPStatus.OK, f"{len(answers.answers)} answers are kept")

    def _file(self, path: Path, kind: str) -> None:
        """Send a file, or the part of it that is asked for, as players do."""
        if not path.is_file():
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d{1,15})-(\d{0,15})", self.headers.get("Range", ""))
        begin, end = (int(asked[1]), min(int(asked[2] or size - 1), size - 1)) if asked else (0, size - 1)
        if begin > end:
            raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"the file has {size} bytes")
        self._head(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK, kind, end - begin + 1)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{end}/{size}")
        self.end_headers()
        with path.open("rb") as stream:
            stream.seek(begin)
            left = end - begin + 1
            while left and (part := stream.read(min(left, _AT_ONCE))):
                self.wfile.write(part)
                left -= len(part)

    def _text(self, status: HTTPStatus, text: str) -> None:
        content = text.encode()
        self._head(status, "text/plain; charset=utf-8", len(content))
        self.end_headers()
        self.wfile.write(content)

    def _head(self, status: HTTPStatus, kind: str, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Connection", "close")

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing: what goes wrong is said where it does."""


@contextmanager
def open_server(folder: Path, port: int = PORT) -> Iterator[_Server]:
    """Open the server of a study; `serve_forever` of what this yields serves.

    Args:
        folder: The study's folder.
        port: The port; 0 for any that is free.

    Raises:
        MissingInput: If there is no study.
        InvalidInput: If the port is taken, answers in the folder are damaged, or links in it lead out of it.
        UserError: If the study is being served already.
    """
    if not (folder / PAGE / INDEX).is_file():
        raise MissingInput(f"{shown(folder)} is no study: `videogpa study make` makes one, and serve is given its folder")
    refuse_links(folder.rglob("*"), folder, "study")
    require_regular(folder / LOCK)
    collection = Collection(folder)
    lock = FileLock(str(folder / LOCK))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{shown(folder)} is being served already") from None
    try:
        for path in (folder / ANSWERS).glob(".*"):
            if is_leftover(path):
                remove(path)
        collection.counts()  # damaged answers are noticed now, and not when a rater sends more
        with _bound(port, collection) as server:
            yield server
    finally:
        lock.release()


def _bound(port: int, collection: Collection) -> _Server:
    if not 0 <= port <= 65_535:
        raise InvalidInput(f"--port takes a number from 0 to 65535, got {port}")
    try:
        return _Server(port, collection)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise InvalidInput(f"port {port} cannot be had ({error.strerror}): choose another one with --port") from None


def addresses(server: _Server) -> dict[str, str]:
    """Return the address of the page for each rater."""
    key = server.collection.key
    return {rater: f"http://{server.names[0]}/{key.study}/#{rater}" for rater in key.raters}


def serve(folder: Path, port: int = PORT) -> Key:
    """Serve a study until the process is interrupted; see `open_server`."""
    with open_server(folder, port) as server:
        for rater, address in addresses(server).items():
            _log.info("rater %s: %s", rater, address)
        _log.info("answers are kept in %s; Ctrl-C ends", shown(folder / ANSWERS))
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            for rater, (done, total) in server.collection.counts().items():
                _log.info("rater %s has answered %d of %d pairs", rater, done, total)
        return server.collection.key

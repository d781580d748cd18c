"""Manifests: JSONL files with one row per item, resumed by key and fingerprint; and the manifests of a run folder.

Every stage calls `Manifest.update`, so that a killed run continues where it was and ends with the same result: once something
new is made stale rows are dropped (`drop_stale`), each new row is added once its files are on disk (`append`), and at the end
the rows are put in the order of the work list (`finalize`).
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from videogpa import processes
from videogpa.records import Clip, Diversity, Judgement, Latents, Pair, Prompt, Row, Score
from videogpa.storage.files import move, remove, require_regular, temporary_path, write_text
from videogpa.storage.lines import Damaged, Inside, parse_row, read_lines, set_lines_aside
from videogpa.storage.run_folder import RunFolder

R = TypeVar("R", bound=Row)

_log = logging.getLogger(__name__)


class Manifest(Generic[R]):
    """A JSONL file of rows. Each row is complete or absent, and has a unique key made of one or more of its fields."""

    def __init__(
        self,
        path: Path,
        row_type: type[R],
        key: str,
        *,
        files: Callable[[R], list[Path]] | None = None,
        retry: Callable[[R], bool] | None = None,
        part_of: RunFolder | None = None,
        keep_replaced: bool = False,
        lost: str = "",
    ) -> None:
        """Describe the manifest at `path`; nothing is read yet.

        Args:
            path: The JSONL file, which need not exist.
            row_type: The class of its rows.
            key: The names of the fields that make up a row's key, separated by spaces.
            files: Returns the files that belong to a row. A row is stale if one of them is missing.
            retry: Tells of a row that is current whether it is made again all the same, since it failed for a reason that may
                have passed.
            part_of: The run folder, which is told of the first row that is made.
            keep_replaced: Whether the rows that new settings replace are moved aside with their files: see `update`.
            lost: What follows from damaged rows, for messages, where they are not made again.
        """
        self.path = path
        self._row_type = row_type
        self._fields = key.split()
        self._files = files or (lambda row: [])
        self._retry = retry or (lambda row: False)
        self._folder = part_of
        self._keep_replaced = keep_replaced
        self._lost = lost or "their rows are made again"

    @property
    def staging(self) -> Path:
        """The folder that `make` of `update` writes the files of its rows into, under the names that they are to have."""
        return temporary_path(self.path.with_suffix(""))

    def key(self, row: R) -> str:
        """Return the row's unique key in this manifest."""
        return self.key_of(**{field: getattr(row, field) for field in self._fields})

    def key_of(self, **fields: object) -> str:
        """Return the key of the row with these fields, which are all of those that tell rows apart, by name."""
        return " ".join(str(fields[field]) for field in self._fields)

    def rows(self) -> list[R]:
        """Read all whole rows. An incomplete last line, left by a killed writer, is ignored.

        A line that is damaged is set aside in `<name>.damaged`, with a warning, so that its row is made again.

        Raises:
            UserError: If a line is a row of another version, or a path in it leads out of the folder.
        """
        rows = []
        damaged: dict[int, Damaged] = {}
        lines = read_lines(self.path)
        inside = Inside(self.path.parent)
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(parse_row(line, self._row_type, self._fields, self.path, inside, number))
            except Damaged as error:
                damaged[number] = error
        if damaged and processes.is_main_process():
            set_lines_aside(self.path, lines, damaged, self._lost)
        return rows

    def update(
        self, wanted: Mapping[str, str], make: Callable[[list[str]], Iterable[R]], *, keep_others: bool = False
    ) -> list[R]:
        """Keep the rows that are wanted and current, make the others, and return all wanted rows in order.

        What is no longer wanted is dropped when the first new row is there, and not before: a setting that proves unusable
        costs nothing. With `keep_replaced` these rows and their files are then moved into the folder `replaced`.

        Args:
            wanted: Key -> fingerprint of every row that there is to be, in the order in which they are returned.
            make: Called with the keys that are left to make; not called if there are none. It yields their rows in any
                order, each once the files that the row names are on disk, in `staging`, or in their place if they stay as they
                are. Rows get their fingerprints here.
            keep_others: By default the manifest ends with the wanted rows alone. If true, rows with other keys stay, before
                the wanted ones, and a stale row stays until the row that replaces it has been made.

        Raises:
            UserError: If the file holds a row of another version, or a path that leads out of the folder.
            OSError: If the disk is full; the rows that were written are whole.
        """
        left = self._left(wanted)
        begun = False
        try:
            for row in make(left) if left else ():
                if not begun:
                    begun = True
                    self.drop_stale(wanted, keep_others=keep_others)
                self._put_in_place(row)
                self.append(row.model_copy(update={"fingerprint": wanted[self.key(row)]}))
        finally:
            remove(self.staging)
        if not begun and not keep_others:
            self.drop_stale(wanted)
        return self.finalize(wanted, keep_others=keep_others)

    def _left(self, wanted: Mapping[str, str]) -> list[str]:
        """Return the keys that are still to be made."""
        current = self._current(wanted, self._newest())
        return [key for key in wanted if key not in current or self._retry(current[key])]

    def _newest(self) -> dict[str, R]:
        return {self.key(row): row for row in self.rows()}

    def _current(self, wanted: Mapping[str, str], rows: Mapping[str, R]) -> dict[str, R]:
        return {key: row for key, row in rows.items() if wanted.get(key) == row.fingerprint and self._is_whole(row)}

    def _is_whole(self, row: R) -> bool:
        return all(file.exists() for file in self._files(row))

    def drop_stale(self, wanted: Mapping[str, str], *, keep_others: bool = False) -> list[str]:
        """Keep the rows whose key and fingerprint are wanted and whose files exist; return the keys still to be made.

        With `keep_others` no row is dropped.
        """
        newest = self._newest()
        current = self._current(wanted, newest)
        if self._keep_replaced and not keep_others:
            self._move_aside([row for key, row in newest.items() if key not in current and self._is_whole(row)])
        if self.path.exists():
            self._rewrite(list((newest if keep_others else current).values()))
        return [key for key in wanted if key not in current]

    def _move_aside(self, rows: list[R]) -> None:
        """Move rows with their files into the folder `replaced`: first the rows, so that no file there is unknown."""
        if not rows or self._folder is None:
            return
        aside = self._folder.replaced()
        with_files = Manifest(aside / self.path.name, self._row_type, " ".join(self._fields))
        for row in rows:
            with_files.append(row)
        for row in rows:
            for file in self._files(row):
                move(file, aside / file.relative_to(self.path.parent))
        _log.warning("%d rows of %s are replaced or no longer asked for: they are kept in %s", len(rows), self.path, aside)

    def _put_in_place(self, row: R) -> None:
        """Move the files of a new row from the staging folder to their places."""
        for file in self._files(row):
            staged = self.staging / file.relative_to(self.path.parent)
            if staged.exists():
                require_regular(file)
                move(staged, file)

    def append(self, row: R) -> None:
        """Add one row. Its files must be on disk already.

        Raises:
            InvalidInput: If the manifest's path is no regular file.
            OSError: If the row cannot be written completely; the file is then as it was.
        """
        require_regular(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = (row.model_dump_json() + "\n").encode()
        with self.path.open("ab", buffering=0) as stream:
            before = stream.tell()
            try:
                if stream.write(line) != len(line):
                    raise OSError(f"disk full: {self.path} could not take a whole row")
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(before)
                raise
        if self._folder is not None:
            self._folder.begun()

    def finalize(self, order: Mapping[str, str], *, keep_others: bool = False) -> list[R]:
        """Put the rows in the order of the work list, and return those on it. To be called when all are made.

        Rows that are not on the list are dropped, or stand before the others with `keep_others`. Leaves a file even without
        rows: the next stage can then tell "nothing was found" from "was not run".
        """
        by_key = self._newest()
        rows = [by_key[key] for key in order if key in by_key]
        others = [row for key, row in by_key.items() if key not in order] if keep_others else []
        self._rewrite(others + rows)
        return rows

    def _rewrite(self, rows: list[R]) -> None:
        text = "".join(row.model_dump_json() + "\n" for row in rows)
        if not self.path.exists() or self.path.read_bytes() != text.encode():
            write_text(self.path, text)


def prompts(folder: RunFolder) -> Manifest[Prompt]:
    """Return prompts.jsonl: what the clips are to show, with first frames in prompts/."""
    return Manifest(
        folder / "prompts.jsonl",
        Prompt,
        "prompt",
        files=lambda row: [folder / name for name in (row.image, *row.videos) if name],
    )


def given_prompts(folder: RunFolder) -> Manifest[Prompt]:
    """Return prompts/given.jsonl: the prompts as their source gives them, before camera moves are written and some held out."""
    return Manifest(folder / "prompts" / "given.jsonl", Prompt, "prompt")


def clips(folder: RunFolder) -> Manifest[Clip]:
    """Return clips.jsonl: the candidates, with their videos and latents in clips/."""
    return Manifest(
        folder / "clips.jsonl",
        Clip,
        "clip",
        files=lambda row: [folder / name for name in (row.path, row.latents) if name],
        part_of=folder,
        keep_replaced=True,
    )


def scores(folder: RunFolder) -> Manifest[Score]:
    """Return scores.jsonl: one row per clip and critic, failures included."""
    return Manifest(folder / "scores.jsonl", Score, "critic clip", retry=may_have_passed, part_of=folder, keep_replaced=True)


def may_have_passed(row: Score) -> bool:
    """Return whether a clip could not be scored for a reason that may be over: the disk, the network, the file itself."""
    return row.status in ("unreadable", "error")


def pairs(folder: RunFolder) -> Manifest[Pair]:
    """Return pairs.jsonl: one row per preference pair, and one with the reason per group that gave none."""
    return Manifest(folder / "pairs.jsonl", Pair, "prompt rank", part_of=folder)


def diversity(folder: RunFolder) -> Manifest[Diversity]:
    """Return diversity.jsonl: how much the clips of each prompt differ."""
    return Manifest(folder / "diversity.jsonl", Diversity, "prompt", part_of=folder)


def judgements(folder: RunFolder) -> Manifest[Judgement]:
    """Return judgements.jsonl: one row per clip and judge, failures included."""
    return Manifest(
        folder / "judgements.jsonl",
        Judgement,
        "judge clip",
        retry=lambda row: row.status in ("unreadable", "error"),
        part_of=folder,
    )


def latents(folder: RunFolder) -> Manifest[Latents]:
    """Return latents.jsonl: the encoded clips of the pairs, and the conditions of their prompts."""
    return Manifest(
        folder / "latents.jsonl",
        Latents,
        "clip",
        files=lambda row: [folder / row.path, folder / row.condition],
        part_of=folder,
    )

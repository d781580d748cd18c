"""Manifests: JSONL files with one row per item, resumed by key and fingerprint; and the manifests of a run folder.

Every stage calls `Manifest.update`, so that a killed run continues where it was and ends with the same result: stale rows are
dropped (`drop_stale`), each new row is added once its files are on disk (`append`), and at the end the rows are put in the
order of the work list (`finalize`).
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from videogpa.errors import UserError, problems
from videogpa.records import Clip, Latents, Pair, Prompt, Row, Score
from videogpa.renames import upgrade_columns
from videogpa.storage.files import write_text
from videogpa.storage.run_folder import RunFolder

R = TypeVar("R", bound=Row)


class Manifest(Generic[R]):
    """A JSONL file of rows. Each row is complete or absent, and has a unique key made of one or more of its fields."""

    def __init__(self, path: Path, row_type: type[R], key: str, *, files: Callable[[R], list[Path]] | None = None) -> None:
        """Describe the manifest at `path`; nothing is read yet.

        Args:
            path: The JSONL file, which need not exist.
            row_type: The class of its rows.
            key: The names of the fields that make up a row's key, separated by spaces.
            files: Returns the files that belong to a row. A row is stale if one of them is missing.
        """
        self.path = path
        self._row_type = row_type
        self._fields = key.split()
        self._files = files or (lambda row: [])

    def key(self, row: R) -> str:
        """Return the row's unique key in this manifest."""
        return self.key_of(**{field: getattr(row, field) for field in self._fields})

    def key_of(self, **fields: object) -> str:
        """Return the key of the row with these fields, which are all of those that tell rows apart, by name."""
        return " ".join(str(fields[field]) for field in self._fields)

    def rows(self) -> list[R]:
        """Read all complete rows. An incomplete last line, left by a killed writer, is ignored.

        Raises:
            UserError: If a complete line is not a row of this kind: it was edited, or comes from another version.
        """
        if not self.path.exists():
            return []
        *whole, _torn = self.path.read_text(encoding="utf-8").split("\n")
        return [self._parse(line, number) for number, line in enumerate(whole, start=1)]

    def _parse(self, line: str, number: int) -> R:
        try:
            return self._row_type.model_validate_json(line)
        except ValidationError as error:
            old = self._parse_old(line)
            if old is not None:
                return old
            found = "; ".join(problems(error))
            raise UserError(
                f"{self.path}, line {number}, is not a {self._row_type.__name__} row of this version ({found}). "
                "Correct the line, or remove the file to have it made again."
            ) from None

    def _parse_old(self, line: str) -> R | None:
        """Read a row with the column names of the version before; None if it is not one."""
        try:
            return self._row_type.model_validate(upgrade_columns(self.path.name, json.loads(line), str(self.path)))
        except ValueError:  # neither JSON nor a row
            return None

    def update(
        self, wanted: Mapping[str, str], make: Callable[[list[str]], Iterable[R]], *, keep_others: bool = False
    ) -> list[R]:
        """Keep the rows that are wanted and current, make the others, and return all wanted rows in order.

        Args:
            wanted: Key -> fingerprint of every row that there is to be, in the order in which they are returned.
            make: Called with the keys that are left to make; not called if there are none. It yields their rows in any
                order, each once the files that the row names are on disk. Rows get their fingerprints here.
            keep_others: By default the manifest ends with the wanted rows alone. If true, rows with other keys stay, before
                the wanted ones, and a stale row stays until the row that replaces it has been made.

        Raises:
            UserError: If the file holds a line that is not a row of this kind.
            OSError: If the disk is full; the rows that were written are whole.
        """
        left = self.drop_stale(wanted, keep_others=keep_others)
        for row in make(left) if left else ():
            self.append(row.model_copy(update={"fingerprint": wanted[self.key(row)]}))
        return self.finalize(wanted, keep_others=keep_others)

    def drop_stale(self, wanted: Mapping[str, str], *, keep_others: bool = False) -> list[str]:
        """Keep the rows whose key and fingerprint are wanted and whose files exist; return the keys still to be made.

        With `keep_others` no row is dropped.
        """
        newest = {self.key(row): row for row in self.rows()}
        current = {
            key: row
            for key, row in newest.items()
            if wanted.get(key) == row.fingerprint and all(file.exists() for file in self._files(row))
        }
        if self.path.exists():
            self._rewrite(list((newest if keep_others else current).values()))
        return [key for key in wanted if key not in current]

    def append(self, row: R) -> None:
        """Add one row. Its files must be on disk already.

        Raises:
            OSError: If the row cannot be written completely; the file is then as it was.
        """
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

    def finalize(self, order: Mapping[str, str], *, keep_others: bool = False) -> list[R]:
        """Put the rows in the order of the work list, and return those on it. To be called when all are made.

        Rows that are not on the list are dropped, or stand before the others with `keep_others`. Leaves a file even without
        rows: the next stage can then tell "nothing was found" from "was not run".
        """
        by_key = {self.key(row): row for row in self.rows()}
        rows = [by_key[key] for key in order if key in by_key]
        others = [row for key, row in by_key.items() if key not in order] if keep_others else []
        self._rewrite(others + rows)
        return rows

    def _rewrite(self, rows: list[R]) -> None:
        text = "".join(row.model_dump_json() + "\n" for row in rows)
        if not self.path.exists() or self.path.read_text(encoding="utf-8") != text:
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
        folder / "clips.jsonl", Clip, "clip", files=lambda row: [folder / name for name in (row.path, row.latents) if name]
    )


def scores(folder: RunFolder) -> Manifest[Score]:
    """Return scores.jsonl: one row per clip and critic, failures included."""
    return Manifest(folder / "scores.jsonl", Score, "critic clip")


def pairs(folder: RunFolder) -> Manifest[Pair]:
    """Return pairs.jsonl: one row per preference pair, and one with the reason per group that gave none."""
    return Manifest(folder / "pairs.jsonl", Pair, "prompt rank")


def latents(folder: RunFolder) -> Manifest[Latents]:
    """Return latents.jsonl: the encoded clips of the pairs, and the conditions of their prompts."""
    return Manifest(folder / "latents.jsonl", Latents, "clip", files=lambda row: [folder / row.path, folder / row.condition])

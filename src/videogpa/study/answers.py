"""Reading a study's key and the answers of raters. Both may be any file: what is wrong with one is said in a sentence."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from videogpa.errors import InvalidInput, MissingInput, problems
from videogpa.study.records import ANSWERS, KEY, Answers, Key
from videogpa.text_files import DoubledKey, is_folder, plural, read_text, shown, without_doubles

LARGEST_KEY, LARGEST_ANSWERS = 256 << 20, 8 << 20  # bytes


def read_key(path: Path) -> Key:
    """Read the key of a study.

    Args:
        path: key.json, or the study's folder, which holds it.

    Raises:
        MissingInput: If there is none.
        InvalidInput: If it is no key.
    """
    file = path / KEY if is_folder(path) else path
    content = _read_json(file, "the key of a study", LARGEST_KEY)
    if isinstance(content, dict) and "answers" in content:
        raise InvalidInput(f"{shown(file)} holds a rater's answers, where the study's key is expected: key.json of its folder")
    try:
        return Key.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise InvalidInput(f"{shown(file)} is no key of a study: {_first(error)}") from None


def find_answers(paths: Sequence[Path]) -> list[Path]:
    """Return the files of answers that paths name: files, folders of such, and folders of studies that were served.

    Raises:
        MissingInput: If one of them is not there, or holds no answers.
    """
    found: dict[Path, None] = {}
    for path in paths:
        folder = path / ANSWERS if (path / ANSWERS).is_dir() else path
        files = sorted(folder.glob("*.json")) if is_folder(folder) else [path]
        files = [file for file in files if file.name != KEY and not file.name.startswith(".")]
        if not files:
            raise MissingInput(f"{shown(path)} holds no answers: raters save them as answers-....json, or `study serve` does")
        found |= dict.fromkeys(files)
    return list(found)


def read_answers(files: Sequence[Path], key: Key, *, unfinished: bool = False) -> list[Answers]:
    """Read the answers of raters, and check them against the key.

    Args:
        files: A file for each rater.
        key: The study's key.
        unfinished: Whether answers to a part of the pairs are taken too.

    Raises:
        MissingInput: If there is no such file.
        InvalidInput: If a file holds no answers, or those of another study, of a rater whom the study does not have, or of one
            whose answers another file holds; or if they are unfinished.
    """
    found: dict[str, tuple[Path, Answers]] = {}
    for file in files:
        answers = _read_one(file, key)
        if answers.rater in found:
            other, before = found[answers.rater]
            same = "the same answers" if before == answers else "other answers"
            raise InvalidInput(
                f"{shown(file)} and {shown(other)} are of the same rater, {answers.rater}, with {same}: keep one of them"
            )
        total = len(key.raters[answers.rater])
        if len(answers.answers) < total and not unfinished:
            raise InvalidInput(
                f"{shown(file)} is unfinished: {answers.rater} answered {len(answers.answers)} of {plural(total, 'pair')}. "
                "Have it finished, leave it out, or count what there is with --unfinished"
            )
        found[answers.rater] = (file, answers)
    return [answers for _, answers in found.values()]


def _read_one(file: Path, key: Key) -> Answers:
    content = _read_json(file, "a rater's answers", LARGEST_ANSWERS)
    if isinstance(content, dict) and "items" in content:
        raise InvalidInput(f"{shown(file)} is the key of a study, where a rater's answers are expected")
    return check_answers(content, key, shown(file))


def check_answers(content: object, key: Key, name: str) -> Answers:
    """Return the answers that a JSON object holds.

    Args:
        content: What was read.
        key: The study's key.
        name: What the object is called in messages.

    Raises:
        InvalidInput: If it holds no answers to this study.
    """
    try:
        answers = Answers.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise InvalidInput(f"{name} holds no answers of a rater: {_first(error)}") from None
    if answers.study != key.study:
        raise InvalidInput(f"{name} holds answers to another study: {answers.study}; this one is {key.study}")
    if answers.rater not in key.raters:
        raise InvalidInput(f"{name} is of a rater whom the study does not have: {answers.rater}")
    total = len(key.raters[answers.rater])
    beyond = [answer.trial for answer in answers.answers if answer.trial >= total]
    if beyond:
        raise InvalidInput(f"{name} answers pair {beyond[0] + 1}, and the rater was shown {total}")
    return answers


def _read_json(file: Path, expected: str, budget: int) -> object:
    text = read_text(file, expected=expected, budget=budget)
    return parse_json(text, shown(file), expected)


def parse_json(text: str, name: str, expected: str) -> object:
    """Return what a text of JSON says.

    Raises:
        InvalidInput: If it is none.
    """
    try:
        return json.loads(text, object_pairs_hook=without_doubles)
    except DoubledKey as error:
        raise InvalidInput(f"{name} is not {expected}: {error}") from None
    except RecursionError:
        raise InvalidInput(f"{name} is not {expected}: it is nested too deeply") from None
    except ValueError as error:
        raise InvalidInput(f"{name} is not {expected}, or a part of it is missing: it is no JSON ({error})") from None


def _first(error: ValidationError) -> str:
    return problems(error, whole="the file")[0]

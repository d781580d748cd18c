"""What the columns of a file of prompts mean: the names that published files use (docs/reference/prompts.md)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videogpa.errors import InvalidInput

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}

_MEANINGS = {
    **dict.fromkeys(("text", "caption", "text_prompt"), "text"),
    **dict.fromkeys(("id", "group_id"), "id"),
    **dict.fromkeys(("image", "image_prompt", "image_path", "first_frame"), "image"),
    **dict.fromkeys(("video", "video_path"), "video"),
    **{name: name for name in ("split", "reading", "scene", "camera_motion", "videos", "fingerprint", "prompt", "file_name")},
}
"""Column -> what it means. `prompt` and `file_name` mean one of two things, depending on what else there is."""


def is_column(name: str) -> bool:
    """Return whether a column is known under this name, in any case."""
    return name.strip().lower() in _MEANINGS


def with_meanings(content: Any, where: str) -> Any:
    """Return a record by the names of our own fields; unknown names stay as they are.

    A `prompt` is the text where nothing else is. Beside a text it is the id, as in a run's own prompts.jsonl, if it can be one.

    Args:
        content: A record of a file; what is no mapping is returned as it is.
        where: Its place, for messages.

    Raises:
        InvalidInput: If two columns mean the same, or a `prompt` could be either.
    """
    if not isinstance(content, dict):
        return content
    columns: dict[str, str] = {}
    for column in content:
        meaning = _meaning(column, content)
        if meaning in columns:
            raise InvalidInput(f"{where}: `{columns[meaning]}` and `{column}` both mean the {meaning}: leave one of them out")
        columns[meaning] = column
    if "prompt" in columns:
        meaning = _prompt(columns, content, where)
        columns[meaning] = columns.pop("prompt")
    return {meaning: content[column] for meaning, column in columns.items()}


def _meaning(column: str, content: Mapping[str, Any]) -> str:
    meaning = _MEANINGS.get(column.strip().lower(), column[:60])
    if meaning == "file_name":
        return "image" if Path(str(content[column])).suffix.lower() in IMAGE_SUFFIXES else "video"
    return meaning


def _prompt(columns: Mapping[str, str], content: Mapping[str, Any], where: str) -> str:
    """Return what the column `prompt` means: the text, or the id."""
    if "text" not in columns:
        return "text"
    prompt = content[columns["prompt"]]
    if "id" in columns or (isinstance(prompt, str) and len(prompt.split()) > 1):
        raise InvalidInput(
            f"{where}: `prompt` and `{columns['text']}` are both there, and either could be the text: keep one of them, and "
            "name a column of ids `id`"
        )
    return "id"

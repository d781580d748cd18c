"""The page on which raters vote between two clips. It knows no arm and no name of a clip: those are in the study's key."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videogpa.report.page import write_page
from videogpa.report.player_files import Player

MOST_EMBEDDED = 64 << 20
"""Bytes of videos that the page holds itself. More than that stay beside it."""


@dataclass(frozen=True)
class PageItem:
    """Two clips in one video, and what the model was asked for, where raters may know it."""

    player: Player
    text: str = ""


def write_study_page(
    path: Path,
    videos: str,
    study: str,
    items: Mapping[str, PageItem],
    plans: Mapping[str, Sequence[tuple[str, int]]],
    questions: Mapping[str, str],
) -> bool:
    """Write the voting page.

    Args:
        path: The HTML file to write.
        videos: The folder beside it that holds the video of each item, `<item>.mp4`.
        study: The study's name in the answers.
        items: What can be shown.
        plans: For each rater the items in order, each with the panel that is on the left.
        questions: What is asked of each, by the question's name.

    Returns:
        Whether the page holds the videos itself, so that the folder is not needed.
    """
    files = {name: path.parent / videos / f"{name}.mp4" for name in items}
    embedded = sum(file.stat().st_size for file in files.values()) <= MOST_EMBEDDED
    addresses = {
        name: f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}" if embedded else f"{videos}/{name}.mp4"
        for name, file in files.items()
    }
    content: dict[str, Any] = {
        "study": study,
        "questions": questions,
        "plans": plans,
        "items": {
            name: {"video": addresses[name], "text": item.text, **item.player.model_dump(mode="json")}
            for name, item in items.items()
        },
    }
    write_page(
        path,
        "study.html.j2",
        title="Which of two clips?",
        linked=not embedded,
        scripts=("player.js", "study.js"),
        data=json.dumps(content),
        questions=questions,
        longest=max(item.player.frames / item.player.rate for item in items.values()),
        trials=max(map(len, plans.values())),
    )
    return embedded

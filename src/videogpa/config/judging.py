"""Which judges judge, and where their weights are: of `evaluate.judges` and of the flags `--judge`."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from videogpa.config.base import Config, one_of
from videogpa.registry import JUDGES, check_options, load


class JudgeConfig(Config):
    """A judge and its options."""

    judge: str
    """Its name: see `videogpa list judges`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Its options, of which `weights` is one."""


def with_options(judges: object) -> object:
    """Return judges by name with their options, where each may be given as the path of its weights alone."""
    if not isinstance(judges, Mapping):
        return judges
    paths = {name: {"weights": given} for name, given in judges.items() if isinstance(given, str)}
    return {**{name: {} if given is None else given for name, given in judges.items()}, **paths}


def checked(judges: Mapping[str, Mapping[str, Any]]) -> tuple[JudgeConfig, ...]:
    """Check judges and their options, which does not look at the weights.

    Args:
        judges: Name -> options.

    Raises:
        ValueError: If there is no such judge, an option is impossible, or no weights are named: none are ever fetched unasked.
    """
    for name, options in judges.items():
        one_of(name, JUDGES)
        if not options.get("weights"):
            card = load(JUDGES, name).CARDS[0]
            raise ValueError(
                f"the judge {name} needs weights: name a folder that holds them, or {card.weights}, which is then fetched "
                f"({card.download}, {card.licence})"
            )
        check_options(JUDGES, name, options)
    return tuple(JudgeConfig(judge=name, options=dict(options)) for name, options in judges.items())

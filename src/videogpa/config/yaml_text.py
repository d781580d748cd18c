"""The one reader of YAML: recipes, and the values of `--set` and `--option`.

It reads mappings with text keys, lists, texts, whole numbers of up to 64 bits, other numbers, true, false and null. Everything
else that YAML has is refused with its line: tags, aliases, several documents, a key given twice. Dates are texts.
"""

import re
from typing import Any

import yaml

from videogpa.errors import InvalidInput
from videogpa.text_files import cut

DEEPEST = 12
"""Most levels of mappings and lists. A recipe has four; options of critics may have some more."""

_SHOWN = 60  # characters of what was given in a message
_LONGEST_NUMBER = 64  # characters; a number of 64 bits has 20 digits
_OTHER_BASES = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)$")
"""Numbers that YAML 1.1 reads in base 8 or 60, and people in base 10 or as a time: `010`, `12:30`."""

_SPECIAL = "tag:yaml.org,2002:"


def read_yaml(text: str, origin: str) -> Any:
    """Return what a text in YAML holds.

    Args:
        text: One document.
        origin: Where the text comes from, for messages: a path, or a setting.

    Raises:
        InvalidInput: If it is not YAML, or holds what is not read; the message names the line.
    """
    try:
        reader = _Reader(text)
        try:
            return reader.get_single_data()
        finally:
            reader.dispose()
    except _NotRead as error:
        raise InvalidInput(f"{origin}{_place(error.problem_mark, text)}: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        raise InvalidInput(f"{origin} is not YAML: it holds the character U+{error.character:04X}") from None
    except yaml.MarkedYAMLError as error:
        what = " ".join(f"{error.problem or error.context}".split())
        raise InvalidInput(f"{origin} is not YAML{_place(error.problem_mark, text)}: {cut(what, _SHOWN)}") from None


class _NotRead(yaml.MarkedYAMLError):
    """YAML that is not read here."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _Reader(yaml.SafeLoader):
    """PyYAML's safe loader, without tags, aliases, dates and merge keys, and with every key given once."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _NotRead(f"an alias (*{cut(event.anchor, _SHOWN)}) is not read: write the value itself", event.start_mark)
        if getattr(event, "tag", None) not in (None, "!"):
            raise _NotRead(f"a tag ({cut(event.tag, _SHOWN)}) is not read: write the value alone", event.start_mark)
        self.depth += 1
        if self.depth > DEEPEST:
            raise _NotRead(f"more than {DEEPEST} levels of mappings and lists", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != f"{_SPECIAL}str":
                raise _NotRead(f"a key is to be a text; put {_said(key)} in quotes", key.start_mark)
            if key.value in seen:
                raise _NotRead(f"the key {cut(key.value, _SHOWN)!r} is given twice", key.start_mark)
            seen.add(key.value)
        return yaml.constructor.BaseConstructor.construct_mapping(self, node, deep=deep)

    def construct_yaml_int(self, node: Any) -> int:
        text = self._number(node)
        value = super().construct_yaml_int(node)
        if not -(2**63) <= value < 2**63:
            raise _NotRead(f"the number {cut(text, _SHOWN)} does not fit into 64 bits", node.start_mark)
        return value

    def construct_yaml_float(self, node: Any) -> float:
        self._number(node)
        return super().construct_yaml_float(node)

    def _number(self, node: Any) -> str:
        text: str = node.value
        if len(text) > _LONGEST_NUMBER:
            raise _NotRead(f"a number of {len(text)} characters, where {_LONGEST_NUMBER} are read", node.start_mark)
        if _OTHER_BASES.match(text):
            raise _NotRead(
                f"{text} is read in base 8 or 60 by YAML: write the number in base 10, or put a text in quotes", node.start_mark
            )
        return text


_Reader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.removeprefix(_SPECIAL) in ("bool", "int", "float", "null")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Reader.add_constructor(f"{_SPECIAL}int", _Reader.construct_yaml_int)
_Reader.add_constructor(f"{_SPECIAL}float", _Reader.construct_yaml_float)


def _place(mark: Any, text: str) -> str:
    """Where in a text of several lines; nothing for a text of one."""
    return f", line {mark.line + 1}" if mark is not None and "\n" in text.strip() else ""


def _said(key: Any) -> str:
    return cut(repr(key.value), _SHOWN) if isinstance(key, yaml.ScalarNode) else "what is a list or a mapping"

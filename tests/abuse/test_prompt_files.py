"""Hostile and careless files of prompts: each is read rightly or refused in a sentence that names the file and the line."""

import csv
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from attempts import attempt
from hypothesis import given
from hypothesis import strategies as st

from videogpa.config import PromptsConfig
from videogpa.prompts.files import read_file, read_folder
from videogpa.prompts.output import write_prompts
from videogpa.records import Prompt
from videogpa.stages.prompts import plan

HOSTILE_TEXTS = [
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\x1b[31mred\x1b[0m",
        "a\rb",
        "line\nbreak",
        "\u202egnp.exe",
        "\ud800",
        "\udcff",
        "=cmd|' /C calc'!A0",
        "+1",
    ),
    *(
        "@x",
        "-1",
        "con",
        "NUL.txt",
        "com1",
        "../../etc/passwd",
        "/",
        "\\",
        "..",
        ".",
        "~",
        "~root",
        "a" * 300,
        "a/" * 200,
        "客厅",
        "café",
    ),
    *(
        "cafe\u0301",
        "A",
        "a",
        "a b",
        "a-b",
        "1",
        "id",
        "text,image",
        '"',
        "'",
        '""',
        ";",
        "\t",
        "\ufeff",
        "{}",
        "[]",
        "null",
        "é" * 200,
    ),
    *(
        "https://example.com/a.png",
        "concat:a|b",
        "file:///etc/passwd",
        "x" * 20000,
        "%n%s",
        "$(id)",
        "`id`",
        "&#x0;",
        "<script>",
    ),
]
KEYS = [
    "id",
    "text",
    "prompt",
    "caption",
    "image",
    "video",
    "split",
    "scene",
    "videos",
    "file_name",
    "Prompt",
    " text ",
    "x",
    "group_id",
]
texts = st.one_of(
    st.sampled_from(HOSTILE_TEXTS), st.text(max_size=12), st.sampled_from(["a room", "a hall", "train", "held_out"])
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(texts, st.none(), st.booleans(), st.integers(), st.floats()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
entries = st.dictionaries(st.sampled_from(KEYS) | texts, texts | values, max_size=4)


def _json(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(["list", "mapping", "lines", "any"]))
    if kind == "list":
        return json.dumps(draw(st.lists(entries, max_size=4)))
    if kind == "mapping":
        return json.dumps(draw(st.dictionaries(texts, texts | entries, max_size=4)))
    if kind == "lines":
        return "\n".join(json.dumps(entry) for entry in draw(st.lists(entries, max_size=4)))
    return json.dumps(draw(values))


def _table(draw: st.DrawFn) -> str:
    stream = io.StringIO()
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    writer = csv.writer(
        stream, delimiter=delimiter, quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])), escapechar="\\"
    )
    writer.writerow(draw(st.lists(st.sampled_from(KEYS) | texts, max_size=4)))
    for _ in range(draw(st.integers(0, 4))):
        writer.writerow(draw(st.lists(texts, max_size=5)))
    return stream.getvalue()


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """An ending, and the bytes of a file of prompts: any format under any ending, cut, doubled, or in another encoding."""
    text = draw(st.sampled_from([_json, _table, lambda draw: "\n".join(draw(st.lists(texts, max_size=4)))]))(draw)
    cut = draw(st.integers(0, len(text)))
    text = draw(st.sampled_from([text, text, text, text[:cut], text + text, "\n\n" + text, text.replace("\n", "\r\n")]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"]))
    ending = draw(st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt", ".xlsx", ".JSON", ""]))
    return ending, text.encode(encoding, "replace" if encoding == "cp1252" else "surrogatepass")


def _read(ending: str, content: bytes, **settings: object) -> list[Prompt]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"prompts{ending}"
        path.write_bytes(content)
        for name in ("a.png", "1.mp4"):
            (Path(folder) / name).touch()
        rows = plan(PromptsConfig.model_validate({"file": path, **settings}))
        _usable(rows, Path(folder))
        return rows


def _usable(rows: list[Prompt], folder: Path) -> None:
    """Ids are distinct file names on every system, texts are there and can be written, and what is written is read again."""
    assert len({row.prompt.casefold() for row in rows}) == len(rows) > 0
    for row in rows:
        assert len(row.prompt) <= 128
        assert row.prompt.split(".")[0].lower() not in {"con", "nul", "prn", "aux", "com1"}
        assert row.text.strip()
        assert not {chr(code) for code in range(32)} - set("\n\r\t") & set(row.text)
        assert all(Path(path).is_file() for path in (*row.videos, *([row.image] if row.image and row.scene is None else [])))
    write_prompts(rows, folder / "written.jsonl")
    assert read_file(folder / "written.jsonl") == rows


@given(files())
def test_any_file_is_read_or_refused_by_name(file: tuple[str, bytes]) -> None:
    attempt("prompts", lambda: _read(*file), names="prompt")


@given(st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt"]), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_name(ending: str, content: bytes) -> None:
    attempt("prompts", lambda: _read(ending, content), names="prompts")


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4), st.sampled_from([{}, {"camera": {}}, {"held_out": 1}]))
def test_a_table_keeps_ids_and_texts_or_refuses_them(cells: list[tuple[str, str]], settings: dict[str, Any]) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerows([("id", "text"), *cells])
    rows = attempt("prompts", lambda: _read(".csv", stream.getvalue().encode("utf-8", "surrogatepass"), **settings))
    if isinstance(rows, list) and not settings:
        given_texts = [text.strip() for name, text in cells if name.strip() or text.strip()]
        assert [row.text for row in rows] == given_texts


SAME = [Prompt(prompt="a", text="a room, lit"), Prompt(prompt="b", text="a hall")]
LAYOUTS = {
    "a column called prompt": (".csv", 'id,prompt\na,"a room, lit"\nb,a hall\n'),
    "a column called prompt beside none": (".csv", 'prompt\n"a room, lit"\na hall\n'),
    "id as prompt, and text": (".csv", 'prompt,text\na,"a room, lit"\nb,a hall\n'),
    "captions": (".csv", 'ID,Caption\na,"a room, lit"\nb,a hall\n'),
    "semicolons": (".csv", "id;prompt\na;a room, lit\nb;a hall\n"),
    "tabs": (".csv", "id\tprompt\na\ta room, lit\nb\ta hall\n"),
    "tabs by their ending": (".tsv", "id\tprompt\na\ta room, lit\nb\ta hall\n"),
    "a spreadsheet's sep=": (".csv", "sep=;\r\nid;prompt\r\na;a room, lit\r\nb;a hall\r\n"),
    "blank rows": (".csv", '\n,\nid,text\n,\na,"a room, lit"\n, \nb,a hall\n,\n\n'),
    "columns without a name": (".csv", 'id,text,,\na,"a room, lit",,\nb,a hall,,\n'),
    "a mark of the byte order": (".csv", '\ufeffid,text\na,"a room, lit"\nb,a hall\n'),
    "lines of an old Mac": (".jsonl", '{"id": "a", "text": "a room, lit"}\r{"id": "b", "text": "a hall"}'),
    "JSON with prompts": (".json", '[{"id": "a", "prompt": "a room, lit"}, {"id": "b", "prompt": "a hall"}]'),
    "blank lines of JSON": (".jsonl", '\n{"id": "a", "text": "a room, lit"}\n\n{"id": "b", "text": "a hall"}\n\n'),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_common_layouts_say_the_same(layout: str, encoding: str) -> None:
    ending, text = LAYOUTS[layout]
    rows = attempt("prompts", lambda: _read(ending, text.encode(encoding)), expect="right result")
    if layout == "a column called prompt beside none":
        assert isinstance(rows, list)
        assert [row.text for row in rows] == [row.text for row in SAME]
    else:
        assert rows == SAME


def test_a_table_of_videos_and_prompts_brings_clips() -> None:
    for header in ("video,prompt", "file_name,text", "video_path,caption"):
        rows = attempt(
            "prompts", lambda header=header: _read(".csv", f"{header}\n1.mp4,a room\n".encode()), expect="right result"
        )
        assert isinstance(rows, list)
        assert (rows[0].text, [Path(video).name for video in rows[0].videos]) == ("a room", ["1.mp4"])


REFUSED = {
    "prompt and text": (".csv", "prompt,text\na big room,a hall\n", "`prompt` and `text` are both there"),
    "two texts": (".csv", "text,caption\na,b\n", "both mean the text"),
    "a column twice": (".csv", "id,text,text\na,b,c\n", "two columns have the same name"),
    "no header": (".csv", "A sunlit kitchen,with a table\n", "expected the names of the columns"),
    "a cell without a column": (".csv", "id,,text\na,b,c\n", "a column without a name"),
    "doubled keys": (".jsonl", '{"text": "a", "text": "b"}', "line 1: the key 'text' is given twice"),
    "doubled ids": (".json", '{"a": "x", "a": "y"}', "the key 'a' is given twice"),
    "NaN": (".json", '[{"text": "a", "id": NaN}]', "NaN is not JSON"),
    "digits": (".jsonl", '{"text": "a", "id": ' + "1" * 5000 + "}", "thousands of digits"),
    "depth": (".json", "[" * 100_000, "nested too deeply"),
    "lines called .json": (".json", '{"text": "a"}\n{"text": "b"}', "is called .jsonl"),
    "a list called .jsonl": (".jsonl", '[{"text": "a"}]', "call the file .json"),
    "JSON called .txt": (".txt", '{"text": "a"}\n', "holds JSON"),
    "a table called .txt": (".txt", "id,text\na,b\n", "call it .csv"),
    "ids that differ by case": (".json", '{"Hall": "x", "hall": "y"}', "one file name on some systems"),
    "ids that differ by form": (".json", '{"café": "x", "cafe\u0301": "y"}', "one file name on some systems"),
    "ids that differ by separators": (".json", '{"a/b": "x", "a-b": "y"}', "one file name on some systems"),
    "an escape code": (".jsonl", '{"text": "\\u001b[31mred"}', "holds the character U+001B"),
    "half a character": (".jsonl", '{"text": "\\ud800"}', "text: Input should be a valid string"),
    "a NUL in a path": (".jsonl", '{"text": "a", "image": "a\\u0000.png"}', "holds the character U+0000"),
    "an address": (".jsonl", '{"text": "a", "image": "https://example.com/a.png"}', "is an address: download it"),
    "a camera path": (
        ".jsonl",
        '{"text": "a", "scene": {"seed": 0, "camera": "x", "frames": 9, "height": 9, "width": 9}}',
        "camera path",
    ),
    "a scene of a terabyte": (
        ".jsonl",
        '{"text": "a", "scene": {"seed": -1, "camera": "pan-left", "frames": 9, "height": 9, "width": 9}}',
        "seed",
    ),
    "a spreadsheet": (".xlsx", "", "is a spreadsheet: save it as CSV"),
    "Parquet": (".parquet", "", "save it as CSV or JSONL"),
    "a video": (".mp4", "", "is a video"),
    "a spreadsheet called .csv": (".csv", "PK\x03\x04....", "a zip archive, as spreadsheets"),
    "a million lines": (".txt", "".join(f"{number}\n" for number in range(1_000_000)), "100,000 prompts at most"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_ambiguous_or_no_prompt_is_refused_with_its_place(kind: str) -> None:
    ending, text, complaint = REFUSED[kind]
    message = attempt(
        "prompts", lambda: _read(ending, text.encode()), expect="clear sentence", names=f"prompts{ending}", seconds=60
    )
    assert complaint in str(message)


def test_ids_become_names_that_every_system_takes() -> None:
    names = ["con", "NUL.a", "lpt1", "x" * 300, "a/" * 150 + "b", "7", "../../etc"]
    rows = attempt(
        "prompts", lambda: _read(".json", json.dumps(dict.fromkeys(names, "a room")).encode()), expect="right result"
    )
    assert isinstance(rows, list)
    found = [row.prompt for row in rows]
    assert (found[:3], found[5:]) == (["con_", "NUL_.a", "lpt1_"], ["7", "etc"])
    assert [len(name) <= 128 for name in found] == [True] * len(found)
    rows = attempt("prompts", lambda: _read(".jsonl", b'{"id": 7, "text": "a room"}'), expect="right result")
    assert rows == [Prompt(prompt="7", text="a room")]


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.csv")
    (tmp_path / "device.txt").symlink_to("/dev/zero")
    (tmp_path / "log.txt").symlink_to("/proc/kmsg")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "huge.jsonl").touch()
    os.truncate(tmp_path / "huge.jsonl", 1 << 40)
    for name in ("p.csv", "device.txt", "log.txt", "folder.json", "huge.jsonl", "none.txt", "x" * 300 + ".txt", "a\0b.txt"):
        attempt(
            "prompts",
            lambda name=name: read_file(tmp_path / name),
            expect="clear sentence",
            names=name[:20].split("\0")[0],
            seconds=20,
        )
        attempt("prompts", lambda name=name: read_folder(tmp_path / name), expect="clear sentence", seconds=20)


def test_folders_of_images_with_any_names(tmp_path: Path) -> None:
    for number, name in enumerate(("a b", "客厅", "x" * 200, "con", "=cmd", "-rf", "\x1b[31m", "a\nb")):
        (tmp_path / f"{number}" / f"{name}.png").parent.mkdir()
        (tmp_path / f"{number}" / f"{name}.png").touch()
        (tmp_path / f"{number}" / f"._{name}.png").touch()
        rows = attempt("prompts", lambda number=number: read_folder(tmp_path / f"{number}"), expect="right result")
        assert len(rows) == 1
    (tmp_path / "both").mkdir()
    for name in ("A.png", "a.png"):
        (tmp_path / "both" / name).touch()
    attempt("prompts", lambda: read_folder(tmp_path / "both"), expect="clear sentence", names="one file name on some systems")

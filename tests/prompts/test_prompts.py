"""prompts: files of every kind, folders of images, texts that ask for moves of the camera."""

import json
from pathlib import Path

import pytest
import torch

from videogpa.bundled import recipes_folder
from videogpa.config import CameraPrompts, PromptsConfig, Recipe, load_recipe
from videogpa.errors import UserError
from videogpa.prompts.camera_moves import STATIC, TRAVELS, Move, camera_text, choose_moves
from videogpa.prompts.output import write_prompts
from videogpa.records import Prompt
from videogpa.stages import prompts
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.video import read_image, write_image
from videogpa.world.prompts import view


@pytest.fixture
def mini() -> Recipe:
    return load_recipe(recipes_folder() / "smoke-test.yaml")


def from_file(mini: Recipe, file: Path) -> Recipe:
    return mini.model_copy(update={"prompts": PromptsConfig(file=file)})


def planned(file: Path, content: str, **settings: object) -> list[Prompt]:
    file.write_text(content, encoding="utf-8")
    return prompts.plan(PromptsConfig.model_validate({"file": file, **settings}))


def test_world_prompts_bring_their_true_first_frame(mini: Recipe, tmp_path: Path) -> None:
    rows = prompts.run(mini, RunFolder(tmp_path))
    assert [row.split for row in rows] == ["train"] * 8 + ["held_out"] * 4
    assert rows[0].image is not None
    assert rows[0].scene is not None
    first = view(rows[0].scene).images[0]
    torch.testing.assert_close(read_image(tmp_path / rows[0].image), first, atol=0.5 / 255 + 1e-6, rtol=0)


def test_a_file_of_prompts_is_copied_with_its_images(mini: Recipe, tmp_path: Path) -> None:
    write_image(tmp_path / "pictures/a.png", torch.rand(3, 8, 8))
    lines = [
        {"id": "a", "text": "a room", "image": "pictures/a.png"},
        {"id": "b", "text": "a hall", "split": "held_out"},
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    folder = RunFolder(tmp_path / "run")
    rows = prompts.run(from_file(mini, file), folder)
    assert [(row.prompt, row.text, row.image, row.split) for row in rows] == [
        ("a", "a room", "prompts/a.png", "train"),
        ("b", "a hall", None, "held_out"),
    ]
    assert (folder / "prompts/a.png").read_bytes() == (tmp_path / "pictures/a.png").read_bytes()
    before = manifests.prompts(folder).path.stat().st_mtime_ns
    assert prompts.run(from_file(mini, file), folder) == rows
    assert manifests.prompts(folder).path.stat().st_mtime_ns == before
    write_image(tmp_path / "pictures/a.png", torch.rand(3, 8, 8))  # another picture under the old name
    assert prompts.run(from_file(mini, file), folder)[0].fingerprint != rows[0].fingerprint
    assert (folder / "prompts/a.png").read_bytes() == (tmp_path / "pictures/a.png").read_bytes()


def test_the_prompts_of_one_run_are_a_file_of_prompts_for_another(mini: Recipe, tmp_path: Path) -> None:
    def said(rows: list[Prompt]) -> list[dict[str, object]]:
        return [row.model_dump(exclude={"fingerprint"}) for row in rows]

    first = prompts.run(mini, RunFolder(tmp_path / "first"))
    assert said(prompts.run(from_file(mini, tmp_path / "first/prompts.jsonl"), RunFolder(tmp_path / "second"))) == said(first)
    write_prompts(prompts.plan(mini.prompts), tmp_path / "written.jsonl")
    assert said(prompts.run(from_file(mini, tmp_path / "written.jsonl"), RunFolder(tmp_path / "third"))) == said(first)
    assert (tmp_path / "third/prompts/train-0003.png").read_bytes() == (tmp_path / "first/prompts/train-0003.png").read_bytes()


HELD_OUT = '"split": "held_out", "reading": "static"'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl", f'{{"id": "a", "text": "a room, lit"}}\n{{"id": "b", "text": "a hall", {HELD_OUT}}}\n'),
        ("p.json", f'[{{"id": "a", "text": "a room, lit"}}, {{"id": "b", "text": " a hall ", {HELD_OUT}}}]'),
        ("p.json", f'{{"a": "a room, lit", "b": {{"caption": "a hall", {HELD_OUT}}}}}'),
        ("p.csv", '\ufeffid,text,image,split,reading\na,"a room, lit",,,\nb,a hall,,held_out,static\n'),
    ],
)
def test_every_kind_of_file_says_the_same(tmp_path: Path, name: str, content: str) -> None:
    rows = planned(tmp_path / name, content)
    hall = Prompt(prompt="b", text="a hall", split="held_out", reading="static")
    assert rows == [Prompt(prompt="a", text="a room, lit"), hall]


def test_published_files_are_read_as_they_are(tmp_path: Path) -> None:
    """Captions and prompts of the official project: a mapping from scenes, with a space before each caption."""
    scene = "001dccbc1f78146a9f03861026613d8e73f39f372b545b26118e37a23c740d5f"
    assert planned(tmp_path / "captions_1K.json", json.dumps({f"1K/{scene}/images_8": " A stone gateway."})) == [
        Prompt(prompt=f"1K-{scene}-images_8", text="A stone gateway.")
    ]
    assert planned(tmp_path / "captions.json", json.dumps([{"group_id": f"1K/{scene}", "text_prompt": "A gateway."}])) == [
        Prompt(prompt=f"1K-{scene}", text="A gateway.")
    ]
    write_image(tmp_path / "0032cd2f.png", torch.rand(3, 8, 8))
    entry = {"image_prompt": "0032cd2f.png", "camera_motion": "pan", "text_prompt": "The camera pans."}
    assert planned(tmp_path / "prompts.json", json.dumps({"0032cd2f": entry})) == [
        Prompt(prompt="0032cd2f", text="The camera pans.", image=str(tmp_path.resolve() / "0032cd2f.png"))
    ]


def test_ids_that_are_made_stay_when_lines_move(tmp_path: Path) -> None:
    rows = planned(tmp_path / "a.txt", "A quiet room, with a table.\n\nA hall\n客厅\n")
    assert [row.text for row in rows] == ["A quiet room, with a table.", "A hall", "客厅"]
    assert [row.prompt.rsplit("-", 1)[0] for row in rows[:2]] == ["a-quiet-room-with", "a-hall"]
    moved = planned(tmp_path / "b.txt", "客厅\nAnother room\nA hall\nA quiet room, with a table.\n")
    assert {row.prompt: row.text for row in rows}.items() <= {row.prompt: row.text for row in moved}.items()
    assert rows[1].prompt == "a-hall-683a6e51"  # over versions too: clips lie under it


def test_records_with_a_video_are_the_clips_of_their_prompt(tmp_path: Path) -> None:
    for name in ("1.mp4", "2.mp4", "3.mp4"):
        (tmp_path / name).touch()
    rows = planned(tmp_path / "clips.csv", "text,video\na room,1.mp4\na hall,3.mp4\na room,2.mp4\n")
    assert [[Path(video).name for video in row.videos] for row in rows] == [["1.mp4", "2.mp4"], ["3.mp4"]]
    assert all(Path(video).is_absolute() for row in rows for video in row.videos)
    with pytest.raises(UserError, match="line 3: the prompt 'a' is there already"):
        planned(tmp_path / "clips.csv", "id,text,video\na,a room,1.mp4\na,a hall,2.mp4\n")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("p.jsonl", "{", "line 1: not JSON"),
        ("p.jsonl", '{"id": "a"}', "prompts without a text: a"),
        ("p.jsonl", '\n{"id": "a", "text": "x", "sead": 1}', "line 2: .*sead: Extra inputs"),
        ("p.jsonl", '{"id": "a", "text": "x", "image": "none.png"}', "line 1: no image at"),
        ("p.jsonl", '{"id": "a", "text": "x", "video": "none.mp4"}', "line 1: no video at"),
        ("p.jsonl", '{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}', "line 2: the prompt 'a' is there already"),
        ("p.jsonl", '{"id": "/..", "text": "x"}', "line 1: the id '/..' has no ASCII letter or digit"),
        ("p.jsonl", '["a"]', "line 1: expected text.*valid dictionary"),
        ("p.json", '[{"text": "x"},\n{"text": "y",}]', "line 2: not JSON"),
        ("p.json", '[{"text": "x"}, {"text": 3}]', "entry 2: .*text: Input should be a valid string"),
        ("p.json", '{"a": 3}', "entry 'a': expected text"),
        ("p.json", '"a"', "expected a list of prompts, or a mapping"),
        ("p.csv", "id,text\na,one, two\n", "line 2: more cells"),
        ("p.csv", 'id,text\na,"x\n', "line 2: not CSV"),
        ("p.csv", "id,tekst\na,x\n", "line 2: .*tekst: Extra inputs"),
        ("p.csv", "id,text\n", "holds no prompt"),
        ("p.yaml", "a: b", "expected a file of prompts, .jsonl, .json, .csv, .txt"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_line(tmp_path: Path, name: str, content: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        planned(tmp_path / name, content)


def test_a_missing_file_is_named(mini: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no prompts at"):
        prompts.run(from_file(mini, tmp_path / "none.jsonl"), RunFolder(tmp_path / "run"))
    (tmp_path / "latin.csv").write_bytes("text\ncafé\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        prompts.plan(PromptsConfig(file=tmp_path / "latin.csv"))


def test_every_image_of_a_folder_becomes_a_prompt_that_moves_the_camera(mini: Recipe, tmp_path: Path) -> None:
    for name in ("b.png", "a photo.JPG", "客厅.webp"):
        write_image(tmp_path / "photos" / f"{name}.png", torch.rand(3, 8, 8))
        (tmp_path / "photos" / f"{name}.png").rename(tmp_path / "photos" / name)
    (tmp_path / "photos/notes.txt").touch()
    config = PromptsConfig(images=tmp_path / "photos", held_out=1)
    rows = prompts.run(mini.model_copy(update={"prompts": config}), RunFolder(tmp_path / "run"))
    assert [row.prompt for row in rows[:2]] == ["a-photo", "b"]
    assert [row.image for row in rows[:2]] == ["prompts/a-photo.jpg", "prompts/b.png"]
    assert all(row.text.startswith(STATIC) for row in rows)
    assert sorted(row.split for row in rows) == ["held_out", "train", "train"]
    write_image(tmp_path / "photos/b.jpg.png", torch.rand(3, 8, 8))
    (tmp_path / "photos/b.jpg.png").rename(tmp_path / "photos/b.jpg")
    with pytest.raises(UserError, match="would both be the prompt 'b'"):
        prompts.plan(config)
    for empty, complaint in (("run", "no image in"), ("nowhere", "no folder of images")):
        with pytest.raises(UserError, match=complaint):
            prompts.plan(PromptsConfig(images=tmp_path / empty))


def test_moves_follow_from_id_and_seed_and_show_depth() -> None:
    drawn = {f"{key}": choose_moves(f"{key}", CameraPrompts()) for key in range(400)}
    assert {len(moves) for moves in drawn.values()} == {2, 3}
    assert {move for moves in drawn.values() for move in moves} == set(Move)
    assert all(any(move.axis in TRAVELS for move in moves) for moves in drawn.values())
    assert all(len({move.axis for move in moves}) == len(moves) for moves in drawn.values())
    assert {moves[0].axis in TRAVELS for moves in drawn.values()} == {True, False}
    assert choose_moves("7", CameraPrompts()) == drawn["7"]
    assert any(choose_moves(key, CameraPrompts(seed=1)) != moves for key, moves in drawn.items())
    assert choose_moves("kitchen", CameraPrompts()) == [
        Move.TRUCK_RIGHT,
        Move.TILT_UP,
    ]  # over versions too: clips were made of it
    assert {len(choose_moves(str(key), CameraPrompts(moves=(1, 1)))) for key in range(9)} == {1}


def test_a_text_says_the_moves_in_order_and_the_caption_last(tmp_path: Path) -> None:
    assert camera_text([Move.RISE]) == f"{STATIC} The camera rises straight up."
    assert camera_text([Move.RISE, Move.ROLL], "A hall.") == (
        f"{STATIC} The camera first rises straight up, and then leans slightly to one side. The scene: A hall."
    )
    three = camera_text([Move.RISE, Move.ROLL, Move.SINK])
    assert three.endswith("first rises straight up, then leans slightly to one side, and finally sinks straight down.")
    [row] = planned(tmp_path / "p.jsonl", '{"id": "kitchen", "text": "A kitchen."}', camera={})
    assert row.text == camera_text([Move.TRUCK_RIGHT, Move.TILT_UP], "A kitchen.")


def test_what_is_held_out_stays_held_out_when_prompts_are_added(tmp_path: Path) -> None:
    def held_out(count: int) -> set[str]:
        texts = "".join(f"room {number}\n" for number in range(count))
        rows = planned(tmp_path / "p.txt", texts, held_out=10)
        return {row.text for row in rows if row.split == "held_out"}

    assert len(held_out(40)) == len(held_out(41)) == 10
    assert len(held_out(40) & held_out(41)) >= 9
    with pytest.raises(UserError, match="there are only 10 prompts"):
        held_out(10)

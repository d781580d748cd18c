from itertools import combinations

from videogpa.config import WorldPrompts
from videogpa.world.paths import PATHS
from videogpa.world.prompts import world_prompts
from videogpa.world.words import OPENINGS, PARAPHRASES, STATIC, request, requests, vocabulary


def test_every_path_has_several_wordings_and_no_two_paths_share_one() -> None:
    assert set(PARAPHRASES) == set(PATHS)
    for one, other in combinations(PATHS, 2):
        assert not set(requests(one, "natural")) & set(requests(other, "natural"))
    for camera in PATHS:
        wordings = requests(camera, "natural")
        assert len(set(wordings)) == len(wordings) == len(OPENINGS) * 5
        assert not set(wordings) & set(requests(camera, "scripted"))


def test_left_and_right_up_and_down_are_told_apart_by_a_word() -> None:
    for camera, sentences in PARAPHRASES.items():
        kind, way = camera.split("-")
        opposite = {"left": "right", "right": "left", "up": "down", "down": "up", "in": "out", "out": "in"}[way]
        for sentence, mirrored in zip(sentences, PARAPHRASES[f"{kind}-{opposite}"], strict=True):
            assert sentence != mirrored
            if way in ("left", "right"):
                assert way in sentence.lower()
                assert opposite not in sentence.lower()


def test_wordings_follow_from_the_seed_and_all_come_up() -> None:
    drawn = [request("orbit-left", "natural", seed) for seed in range(200)]
    assert drawn == [request("orbit-left", "natural", seed) for seed in range(200)]
    assert set(drawn) == set(requests("orbit-left", "natural"))
    assert request("pan-right", "scripted", 7) == f"{STATIC} {PATHS['pan-right'][2]}"


def test_natural_prompts_ask_for_the_same_scenes_in_other_words() -> None:
    scripted = world_prompts(WorldPrompts())
    natural = world_prompts(WorldPrompts(language="natural"))
    assert [row.scene for row in scripted] == [row.scene for row in natural]
    assert all(row.scene and row.text in requests(row.scene.camera, "natural") for row in natural)
    assert all(row.scene and row.text in requests(row.scene.camera, "scripted") for row in scripted)


def test_the_vocabulary_holds_every_word_once() -> None:
    words = vocabulary()
    assert words == sorted(set(words))
    assert {"camera", "leftwards", "left-hand", "orbits", "tripod"} <= set(words)
    assert all(word.replace("-", "").isalpha() for word in words)

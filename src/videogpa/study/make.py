"""Make a study: choose pairs of clips, write their videos, the voting page and the key."""

import logging
import random
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from videogpa import __version__
from videogpa.errors import InvalidInput, MissingInput
from videogpa.report.study import PageItem, write_study_page
from videogpa.stages.clip_files import clip_name
from videogpa.stages.compare import Methods
from videogpa.storage import manifests
from videogpa.storage.files import atomic_folder, write_text
from videogpa.storage.run_folder import RunFolder
from videogpa.study.clips import write_pair
from videogpa.study.design import Contest, choose_contests, code, number_of_checks, plan_raters
from videogpa.study.records import INDEX, KEY, MEDIA, PAGE, QUESTIONS, SCRAMBLED, Item, Key, Trial
from videogpa.text_files import plural, shown

MOST_RATERS, MOST_PAIRS = 1000, 1000

_log = logging.getLogger(__name__)


def own_prompt(name: str) -> str:
    """Return the prompt of a clip that has one of its own."""
    return name


@dataclass(frozen=True)
class Sources:
    """The clips that a study chooses from."""

    methods: Methods
    prompt_of: Callable[[str], str] = own_prompt
    texts: Mapping[str, str] = field(default_factory=dict)
    """The text of prompts, where it is known: raters read it above the clips."""
    scores: tuple[Path, ...] = ()


def from_run(folder: Path) -> Sources:
    """Take the clips of a run's evaluation: those of the base model, and of the aligned one at every strength.

    Raises:
        MissingInput: If the run has not been evaluated.
    """
    run = RunFolder(folder)
    found = sorted(path.parent for path in (folder / "evaluation").glob("*/clips.jsonl"))
    found.sort(key=lambda part: part.name != "base")
    if len(found) < 2 or found[0].name != "base":
        raise MissingInput(
            f"{shown(folder)} holds no clips of two models to compare: `videogpa evaluate {shown(folder)}` makes them"
        )
    clips = {
        part.name: {row.clip: part / row.path for row in manifests.clips(run.subfolder(f"evaluation/{part.name}")).rows()}
        for part in found
    }
    return Sources(
        Methods(clips),
        prompt_of=prompt_of_name,
        texts={row.prompt: row.text for row in manifests.prompts(run).rows()},
        scores=tuple(part.resolve() for part in found),
    )


def prompt_of_name(name: str) -> str:
    """Return the prompt of a clip that is called `<prompt>/<seed>`."""
    return name.rpartition("/")[0] or name


def make(sources: Sources, out: Path, *, pairs: int, raters: int, seed: int | None = None) -> Key:
    """Make a study.

    Args:
        sources: The clips; the first method is the base.
        out: The study's folder, which must not exist yet, or be empty.
        pairs: How many pairs of clips every rater judges, besides repeats and checks.
        raters: How many raters there are.
        seed: From which pairs, order and sides are drawn; by default a secret one.

    Returns:
        The key.

    Raises:
        InvalidInput: If there are no two clips to compare, a number is impossible, or the folder is in use.
        UnreadableVideo: If a clip cannot be read.
    """
    _require_possible(out, pairs, raters)
    seed = secrets.randbits(62) if seed is None else seed
    draw = random.Random(seed)
    study = code(draw, 10)
    contests = choose_contests(sources.methods.clips, sources.prompt_of, pairs, draw)
    if not contests:
        base = sources.methods.base
        raise InvalidInput(f"no clip of {base} has the name of one of another method: there is nothing to compare")
    if len(contests) < pairs:
        _log.warning("there are %s to compare, and %d were asked for", plural(len(contests), "pair"), pairs)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(out) as folder:
        items, page = _write_items(sources, contests, folder / PAGE / MEDIA, draw)
        arms = list(sources.methods.clips)
        checks = [name for name, item in items.items() if item.is_check]
        firsts = {name: _first(item, arms) for name, item in items.items()}
        key = Key(
            study=study,
            made_by=__version__,
            seed=seed,
            arms=tuple(arms),
            items=items,
            raters=plan_raters(firsts, checks, raters, draw),
            scores=tuple(map(clip_name, sources.scores)),
        )
        if write_study_page(folder / PAGE / INDEX, MEDIA, study, page, shown_to_raters(key.raters), QUESTIONS):
            shutil.rmtree(folder / PAGE / MEDIA)
        write_text(folder / KEY, key.model_dump_json(indent=1) + "\n")
    return key


def shown_to_raters(plans: Mapping[str, tuple[Trial, ...]]) -> dict[str, list[tuple[str, int]]]:
    """Return what the page knows of the raters' plans: items and sides, not which of them are repeats."""
    return {rater: [(trial.item, trial.left) for trial in trials] for rater, trials in plans.items()}


def _require_possible(out: Path, pairs: int, raters: int) -> None:
    for name, value, most in (("--pairs", pairs, MOST_PAIRS), ("--raters", raters, MOST_RATERS)):
        if not 1 <= value <= most:
            raise InvalidInput(f"{name} takes a number from 1 to {most}, got {value}")
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise InvalidInput(f"{shown(out)} is there already, and a study is never overwritten: choose another --out")


def _first(item: Item, arms: list[str]) -> Literal[0, 1]:
    """Return the panel of the arm that comes first among the arms; of a check that of the whole clip."""
    order = [*arms, SCRAMBLED]
    return 0 if order.index(item.arms[0]) < order.index(item.arms[1]) else 1


def _write_items(
    sources: Sources, contests: list[Contest], media: Path, draw: random.Random
) -> tuple[dict[str, Item], dict[str, PageItem]]:
    """Write the videos of all items, and return the items by random names in the order of these, which tells nothing."""
    pairs = [(contest, draw.sample(list(contest.arms), 2)) for contest in contests]
    for number in range(number_of_checks(len(contests))):
        contest = contests[number * len(contests) // number_of_checks(len(contests))]
        pairs.append((contest, draw.sample([draw.choice(contest.arms), SCRAMBLED], 2)))
    named = sorted(((code(draw, 12), *pair) for pair in pairs), key=lambda each: each[0])
    items, page = {}, {}
    for name, contest, (one, other) in named:
        whole = one if other == SCRAMBLED else other
        files = tuple(sources.methods.clips[whole if arm == SCRAMBLED else arm][contest.name] for arm in (one, other))
        player = write_pair(media / f"{name}.mp4", (files[0], files[1]), (one == SCRAMBLED, other == SCRAMBLED), draw)
        prompt = sources.prompt_of(contest.name)
        items[name] = Item(
            name=contest.name,
            prompt=prompt,
            arms=(one, other),
            clips=(clip_name(files[0].resolve()), clip_name(files[1].resolve())),
            seconds=player.frames / player.rate,
        )
        page[name] = PageItem(player, sources.texts.get(prompt, ""))
    return items, page

"""rounds: the whole loop several times, each round from the adapter of the one before; what a round is, and how they compare.

The first round lies in the run folder itself, later ones in rounds/2, rounds/3, ...: run folders too, each with a recipe whose
`generate.adapter` and `train.initial_adapter` are the adapter of the round before. In: the clips and scores of the held-out
prompts that `evaluate` left in each. Out: rounds.json, every round against the base, and the last against the one before.
"""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from videogpa.config import Recipe
from videogpa.config.paths import with_own_prompts
from videogpa.errors import InvalidInput, UserError, problems
from videogpa.findings import CriticFindings, Evaluation, Rounds, changes_by_name
from videogpa.records import Clip, Judgement, Row
from videogpa.report.verdict import headline
from videogpa.stages.evaluate import aligned_folder, compare_critics
from videogpa.stages.judged import compare_judgements
from videogpa.storage import manifests
from videogpa.storage.files import link_or_copy, write_text
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.manifests import Manifest
from videogpa.storage.run_folder import ROUNDS, RunFolder, whole_run
from videogpa.text_files import read_text, shown

FILE = "rounds.json"

R = TypeVar("R", bound=Row)

_LARGEST = 1 << 26  # bytes
_AGAINST = ("worse", "explained by less motion", "paid for with quality", "paid for with diversity")


def require_possible(recipe: Recipe, folder: RunFolder) -> None:
    """Check that the run folder can hold the rounds that the recipe asks for.

    Raises:
        InvalidInput: If it has more rounds already, or is a round itself.
    """
    count = recipe.rounds.count
    there = [int(path.name) for path in (folder / ROUNDS).glob("*") if path.name.isdecimal() and path.is_dir()]
    if max(there, default=1) > count:
        raise InvalidInput(
            f"{folder.path} has {max(there)} rounds already, and rounds.count is {count}: give --rounds {max(there)} or more, "
            f"which keeps what is there, or move the later ones in {folder / ROUNDS} away first"
        )
    whole = whole_run(folder.path)
    if whole is not None and count > 1:
        raise InvalidInput(f"{folder.path} is a round of {whole}: give --rounds for that folder")


def folder_of(folder: RunFolder, number: int) -> RunFolder:
    """Return the run folder of round 1, 2, ... of a run."""
    return folder if number == 1 else RunFolder(folder / ROUNDS / str(number))


def recipe_of(recipe: Recipe, folder: RunFolder, number: int) -> Recipe:
    """Return the recipe of a later round, 2, 3, ...: that of the run, from the adapter of the round before.

    Candidates have the seeds that follow on those of the rounds before. The seed of the training stays, so that the same
    prompts are held out of it in every round.

    Args:
        recipe: The recipe of the run.
        folder: The run folder; its copies of the prompts are used.
        number: The round.
    """
    adapter = str((folder_of(folder, number - 1) / "adapter").absolute())
    content = with_own_prompts(recipe.model_dump(mode="json"), folder.path)
    part = recipe.prompts.part
    if part is not None and recipe.rounds.prompts == "next":
        content["prompts"]["part"] = [part[0] + number - 1, part[1]]
    seed = recipe.generate.seed + (number - 1) * recipe.generate.candidates
    content["generate"] |= {"adapter": adapter, "adapter_scale": 1.0, "seed": seed}
    content["train"] |= {"initial_adapter": adapter}
    content["rounds"] = {}
    content["name"] = f"{recipe.name[:80]}-round-{number}"
    made = Recipe.model_validate(content)
    return made.model_copy(update={"workers": recipe.workers})  # with the cluster of the command line, which no recipe has


def require_candidates(folder: RunFolder) -> None:
    """Check that every round can make candidates of its own.

    Raises:
        InvalidInput: If a training prompt brings clips, which are the same whatever the model has learned.
    """
    own = [row.prompt for row in manifests.prompts(folder).rows() if row.split == "train" and row.videos]
    if own:
        raise InvalidInput(
            f"training prompts bring clips of their own, such as {shown(own[0])}, which no round could replace by clips of the "
            "round before: leave out --rounds, or the clips"
        )


def require_success(recipe: Recipe, number: int, evaluation: Evaluation) -> None:
    """Check that a round may be built upon.

    Args:
        recipe: `rounds.stop` is read.
        number: The round.
        evaluation: Base against that round.

    Raises:
        UserError: If the verdict of a critic is against the round.
    """
    outcomes = {critic: found.outcome for critic, found in evaluation.critics.items() if found.outcome is not None}
    against = [headline(critic, outcome) for critic, outcome in outcomes.items() if outcome.verdict in _AGAINST]
    if against and recipe.rounds.stop:
        raise UserError(
            f"round {number + 1} is not begun, since the verdict is against round {number}, which it would go on from. "
            f"{' '.join(against)} What is finished is kept, and compared in the report. Change a setting of the training, or "
            "go on all the same with --set rounds.stop=false"
        )


def share_base(folder: RunFolder, place: RunFolder) -> None:
    """Put the base model's clips of the held-out prompts, with their scores, into a later round, which makes none of its own.

    Whether they are what the round asks for is decided there, by their fingerprints.
    """
    given, into = (part.subfolder("evaluation/base") for part in (folder, place))
    clips = {row.clip: row for row in manifests.clips(given).rows()}
    there = manifests.clips(into)

    def linked(name: str) -> Clip:
        for path in filter(None, (clips[name].path, clips[name].latents)):
            link_or_copy(given / path, there.staging / path)
        return clips[name]

    there.update({name: row.fingerprint for name, row in clips.items()}, lambda names: map(linked, names))
    _copy_rows(manifests.scores(given), manifests.scores(into))
    _copy_rows(manifests.diversity(given), manifests.diversity(into))
    if manifests.judgements(given).path.exists():
        _copy_rows(manifests.judgements(given), manifests.judgements(into))


def _copy_rows(given: Manifest[R], into: Manifest[R]) -> None:
    rows = {given.key(row): row for row in given.rows()}
    into.update({key: row.fingerprint for key, row in rows.items()}, lambda keys: [rows[key] for key in keys])


def run(recipe: Recipe, folder: RunFolder) -> Rounds:
    """Compare rounds 1 to `recipe.rounds.count`, which are finished, with the base and the last with the one before.

    Args:
        recipe: The sections `evaluate`, `rounds` and `score` are read.
        folder: The run folder; rounds.json is written into it.

    Returns:
        What rounds.json holds.
    """
    parts = models(recipe.rounds.count, recipe.evaluate.adapter_scale[0])
    scores = {model: manifests.scores(folder.subfolder(path)).rows() for model, path in parts.items()}
    diversity = {model: manifests.diversity(folder.subfolder(path)).rows() for model, path in parts.items()}
    judgements = {model: _judgements(recipe, folder.subfolder(path)) for model, path in parts.items()}
    held_out = [row for row in manifests.prompts(folder).rows() if row.split == "held_out"]
    one_right_clip = all(row.scene is not None for row in held_out)

    def compared(base: str, other: str) -> dict[str, CriticFindings]:
        judged = changes_by_name(compare_judgements(judgements[base], judgements[other]))
        spread = (diversity[base], diversity[other])
        return compare_critics(recipe, scores[base], scores[other], spread, one_right_clip=one_right_clip, judged=judged)

    base, *names = parts
    pairs = [*((base, name) for name in names), (names[-2], names[-1])]
    *against_base, last_two = (compared(*pair) for pair in pairs)
    rounds = Rounds(
        made_from=_made_from(folder, parts),
        against_base=tuple(against_base),
        last_two=last_two,
        judges=tuple(compare_judgements(judgements[before], judgements[after]) for before, after in pairs),
    )
    write_text(folder / FILE, rounds.model_dump_json(indent=1) + "\n")
    return rounds


def _judgements(recipe: Recipe, part: RunFolder) -> list[Judgement]:
    """Return what the judges of the evaluation said of a model's clips, and no others that were asked before."""
    return [row for row in manifests.judgements(part).rows() if row.judge in recipe.evaluate.judges]


def models(count: int, scale: float) -> dict[str, str]:
    """Return the base model and that of every round, as the report calls them, and where their clips lie in the run folder."""
    aligned = aligned_folder(scale, None)
    later = {f"round {number}": f"{ROUNDS}/{number}/{aligned}" for number in range(2, count + 1)}
    return {"base": "evaluation/base", "round 1": aligned, **later}


def read(folder: RunFolder, scale: float) -> Rounds | None:
    """Return what rounds.json holds; None if there is none, or a round has another adapter or other scores by now.

    Args:
        folder: The run folder.
        scale: The strength of the adapters at which the rounds are compared.

    Raises:
        InvalidInput: If it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found = Rounds.model_validate_json(read_text(path, expected="a comparison of rounds", budget=_LARGEST))
    except ValidationError as error:
        reason = "; ".join(problems(error, whole="the file")[:2])
        raise InvalidInput(f"{path} is damaged ({reason[:300]}): run `videogpa run {shown(str(folder.path))}` again") from None
    return found if found.made_from == _made_from(folder, models(len(found.against_base), scale)) else None


def _made_from(folder: RunFolder, parts: Mapping[str, str]) -> str:
    """Return a fingerprint of the adapters and scores of all rounds."""
    places = [folder_of(folder, number) / "adapter" for number in range(1, len(parts))]
    scores = [[row.fingerprint for row in manifests.scores(folder.subfolder(path)).rows()] for path in parts.values()]
    return fingerprint("rounds", [path_fingerprint(place) if place.is_dir() else "" for place in places], scores)

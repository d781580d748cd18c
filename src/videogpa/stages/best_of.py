"""Best of N: what a critic buys without training, by choosing among the clips of a prompt, at N times the cost.

The critic that chooses the training pairs chooses here too. `keep_best` leaves the chosen candidates of a run in best/;
`compare_best` lets the evaluating critics judge such a choice, beside what a training gains.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence

from videogpa.config import PairConfig, Recipe
from videogpa.findings import BestOf
from videogpa.measures import MEASURES
from videogpa.records import Clip, Score
from videogpa.stages.paired import compare_scores
from videogpa.storage import manifests
from videogpa.storage.files import atomic_path
from videogpa.storage.run_folder import RunFolder
from videogpa.text_files import plural, shown

_log = logging.getLogger(__name__)


def keep_best(recipe: Recipe, folder: RunFolder) -> list[Clip]:
    """Copy the best scored candidate of every prompt to best/<prompt>.mp4.

    Args:
        recipe: The critic, and the section `pair`: its measure, and the least motion.
        folder: A run folder with scores of its candidates.

    Returns:
        The rows of the clips that were kept. A prompt without a candidate that could be scored and moves enough has none.
    """
    clips = {clip.clip: clip for clip in manifests.clips(folder).rows()}
    rows = [row for row in manifests.scores(folder).rows() if row.critic == recipe.score.critic and row.clip in clips]
    kept = [clips[clip] for clip in _chosen(rows, recipe.pair, least=1).values()]
    for clip in kept:
        with atomic_path(folder / "best" / f"{clip.prompt}.mp4") as path:
            shutil.copyfile(folder / clip.path, path)
    _log.info("%s, the best of each prompt's candidates, in %s", plural(len(kept), "clip"), shown(str(folder / "best")))
    without = len({clip.prompt for clip in clips.values()}) - len(kept)
    if without:
        _log.warning("%s without a candidate that could be scored and moves enough: nothing is kept", plural(without, "prompt"))
    return kept


def compare_best(
    models: Mapping[str, Sequence[Score]], *, chosen_by: str, critics: Sequence[str], pair: PairConfig
) -> tuple[BestOf, ...]:
    """Compare the best clip of each prompt with the mean of all the base model's clips of it.

    Args:
        models: Model -> its scores by the choosing and the judging critics; the first model is the base.
        chosen_by: The critic that chooses, by `pair.measure`, among the clips that move enough.
        critics: Those that judge.
        pair: The measure, and the least motion.

    Returns:
        A comparison for each model; none if no prompt has two clips that could be chosen from.
    """
    base = next(iter(models.values()))
    found: list[BestOf] = []
    for model, rows in models.items():
        chosen = _chosen([row for row in rows if row.critic == chosen_by], pair)
        if not chosen:
            continue
        findings = {
            critic: compare_scores(
                [row for row in base if row.critic == critic and _prompt(row) in chosen],
                _in_place_of([row for row in base if row.critic == critic], chosen, rows, critic),
                chose_pairs=critic == chosen_by,
            )
            for critic in critics
        }
        candidates = max(sum(_prompt(row) == prompt and row.critic == chosen_by for row in rows) for prompt in chosen)
        found.append(BestOf(model=model, candidates=candidates, chosen_by=chosen_by, measure=pair.measure, critics=findings))
    return tuple(found)


def _chosen(rows: Sequence[Score], pair: PairConfig, *, least: int = 2) -> dict[str, str]:
    """Return the best clip of every prompt of which so many or more could be scored and move enough."""
    groups: dict[str, list[Score]] = {}
    for row in rows:
        known = getattr(row, pair.measure) is not None and getattr(row, pair.motion) is not None
        if row.status == "ok" and known and getattr(row, pair.motion) >= pair.min_motion:
            groups.setdefault(_prompt(row), []).append(row)
    sign = 1 if MEASURES[pair.measure].better == "lower" else -1
    return {
        prompt: min(group, key=lambda row: sign * getattr(row, pair.measure)).clip
        for prompt, group in groups.items()
        if len(group) >= least
    }


def _in_place_of(base: Sequence[Score], chosen: Mapping[str, str], rows: Sequence[Score], critic: str) -> list[Score]:
    """Return the judge's score of what was chosen, under the name of every clip of the base that it stands in for."""
    judged = {row.clip: row for row in rows if row.critic == critic}
    named = [(row.clip, judged.get(chosen[_prompt(row)])) for row in base if _prompt(row) in chosen]
    return [row.model_copy(update={"clip": clip}) for clip, row in named if row is not None]


def _prompt(row: Score) -> str:
    return row.clip.rpartition("/")[0]

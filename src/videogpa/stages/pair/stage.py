"""Scores in, pairs out: the pairs of every prompt, or one row with the reason why its group gave none."""

from videogpa import manifests
from videogpa.config import Recipe
from videogpa.records import Pair, Score
from videogpa.runs import RunFolder, fingerprint
from videogpa.stages.pair.pairing import choose_pairs
from videogpa.workers import fill


def run(recipe: Recipe, folder: RunFolder) -> list[Pair]:
    """Pair the scored candidates of every prompt."""
    scores = {row.clip: row for row in manifests.scores(folder).rows() if row.critic == recipe.score.critic}
    groups: dict[str, list[Score]] = {}
    for clip in manifests.clips(folder).rows():
        groups.setdefault(clip.prompt, []).extend([scores[clip.clip]] if clip.clip in scores else [])
    pairs = manifests.pairs(folder)
    chosen: dict[str, Pair] = {}
    wanted: dict[str, str] = {}
    for prompt, group in groups.items():
        made_from = fingerprint(recipe.pair, recipe.score.critic, [(row.clip, row.fingerprint) for row in group])
        for pair in choose_pairs(prompt, group, recipe.pair):
            chosen[pairs.key(pair)] = pair
            wanted[pairs.key(pair)] = made_from
    return fill(pairs, wanted, lambda keys: [chosen[key] for key in keys])

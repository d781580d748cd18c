"""Scores in, pairs out: one row per prompt, with the pair or the reason why its group was dropped."""

from videogpa import manifests
from videogpa.config import Recipe
from videogpa.records import Pair, Score
from videogpa.runs import RunFolder, fingerprint
from videogpa.stages.pair.pairing import choose_pair
from videogpa.workers import fill


def run(recipe: Recipe, folder: RunFolder) -> list[Pair]:
    """Pair the scored candidates of every prompt."""
    scores = {row.clip: row for row in manifests.scores(folder).rows() if row.critic == recipe.score.critic}
    groups: dict[str, list[Score]] = {}
    for clip in manifests.clips(folder).rows():
        groups.setdefault(clip.prompt, []).extend([scores[clip.clip]] if clip.clip in scores else [])
    wanted = {
        prompt: fingerprint(recipe.pair, recipe.score.critic, [(row.clip, row.fingerprint) for row in rows])
        for prompt, rows in groups.items()
    }
    return fill(manifests.pairs(folder), wanted, lambda prompt: choose_pair(prompt, groups[prompt], recipe.pair), label="pair")

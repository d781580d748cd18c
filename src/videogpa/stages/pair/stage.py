"""Scores in, pairs out: one row per prompt, with the pair or the reason why its group was dropped."""

from videogpa.config import Recipe
from videogpa.records import Pair, Score
from videogpa.runs import Manifest, RunFolder, fingerprint
from videogpa.stages import generate, score
from videogpa.stages.pair.pairing import choose_pair


def manifest(folder: RunFolder) -> Manifest[Pair]:
    """The pairs of a run."""
    return Manifest(folder / "pairs.jsonl", Pair, "prompt")


def run(recipe: Recipe, folder: RunFolder) -> list[Pair]:
    """Pair the scored candidates of every prompt."""
    scores = {row.clip: row for row in score.manifest(folder).rows() if row.critic == recipe.score.critic}
    groups: dict[str, list[Score]] = {}
    for clip in generate.manifest(folder).rows():
        groups.setdefault(clip.prompt, []).extend([scores[clip.clip]] if clip.clip in scores else [])
    wanted = {
        prompt: fingerprint(recipe.pair, recipe.score.critic, [(row.clip, row.fingerprint) for row in rows])
        for prompt, rows in groups.items()
    }
    pairs = manifest(folder)
    for prompt in pairs.resume(wanted):
        row = choose_pair(prompt, groups[prompt], recipe.pair)
        pairs.append(row.model_copy(update={"fingerprint": wanted[prompt]}))
    return pairs.settle(wanted)

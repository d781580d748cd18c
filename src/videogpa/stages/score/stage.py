"""Clips in, rows out: a resumable walk over many clips with one critic."""

from collections.abc import Sequence
from functools import cache

from videogpa import manifests
from videogpa.config import Recipe, ScoreConfig
from videogpa.records import Clip, Prompt, Score
from videogpa.runs import RunFolder, fingerprint
from videogpa.stages.score.judge import Judge, weights_identity
from videogpa.workers import fill


def run(recipe: Recipe, folder: RunFolder) -> list[Score]:
    """Score the candidates of the training prompts with the critic that is to teach."""
    clips = manifests.clips(folder).rows()
    return score_clips(clips, manifests.prompts(folder).rows(), [recipe.score], folder)


def score_clips(
    clips: Sequence[Clip], prompts: Sequence[Prompt], configs: Sequence[ScoreConfig], folder: RunFolder
) -> list[Score]:
    """Score the clips of a folder with one critic after the other, into its scores.jsonl."""
    by_prompt = {row.prompt: row for row in prompts}
    judged = {f"{config.critic} {clip.clip}": (config, clip) for config in configs for clip in clips}
    weights = {config.critic: weights_identity(config) for config in configs}
    wanted = {
        key: fingerprint(config, weights[config.critic], clip.fingerprint, by_prompt[clip.prompt].scene)
        for key, (config, clip) in judged.items()
    }
    settings = {config.critic: config for config in configs}
    judge = cache(lambda critic: Judge(settings[critic]))  # loaded at its first clip: a finished stage loads nothing

    def score(key: str) -> Score:
        config, clip = judged[key]
        return judge(config.critic).judge(folder / clip.path, clip=clip.clip, prompt=by_prompt[clip.prompt]).score

    return fill(manifests.scores(folder), wanted, score, label="score")

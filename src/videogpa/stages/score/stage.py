"""Clips in, rows out: a resumable walk over many clips with one critic."""

from collections.abc import Callable, Sequence
from functools import cache

from videogpa import manifests
from videogpa.config import Recipe, ScoreConfig
from videogpa.records import Clip, Prompt, Score
from videogpa.runs import RunFolder, fingerprint
from videogpa.stages.score.judge import Judge, Verdict
from videogpa.workers import map_items


def run(recipe: Recipe, folder: RunFolder) -> list[Score]:
    """Score the candidates of the training prompts with the critic that is to teach."""
    clips = manifests.clips(folder).rows()
    return score_clips(clips, manifests.prompts(folder).rows(), [recipe.score], folder)


def score_clips(
    clips: Sequence[Clip], prompts: Sequence[Prompt], configs: Sequence[ScoreConfig], folder: RunFolder
) -> list[Score]:
    """Score the clips of a folder with one critic after the other, into its scores.jsonl."""
    by_prompt = {row.prompt: row for row in prompts}
    wanted = {
        f"{config.critic} {clip.clip}": fingerprint(config, clip.fingerprint, by_prompt[clip.prompt].scene)
        for config in configs
        for clip in clips
    }
    rows = manifests.scores(folder)
    missing = set(rows.resume(wanted))
    for config in configs:
        todo = [clip for clip in clips if f"{config.critic} {clip.clip}" in missing]
        judge = _judging(config, folder, by_prompt)
        for verdict in map_items(judge, todo, label=f"score ({config.critic})"):
            key = f"{config.critic} {verdict.score.clip}"
            rows.append(verdict.score.model_copy(update={"fingerprint": wanted[key]}))
    return rows.settle(wanted)


def _judging(config: ScoreConfig, folder: RunFolder, prompts: dict[str, Prompt]) -> Callable[[Clip], Verdict]:
    """What scores one clip. The critic is loaded at the first, so that a finished stage loads nothing."""
    judge = cache(lambda: Judge(config))
    return lambda clip: judge().judge(folder / clip.path, clip=clip.clip, prompt=prompts[clip.prompt])

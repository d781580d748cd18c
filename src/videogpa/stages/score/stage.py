"""Clips in, rows out: a resumable walk over many clips with one critic."""

from collections.abc import Sequence

from videogpa import manifests
from videogpa.config import Recipe, ScoreConfig
from videogpa.records import Clip, Prompt, Score
from videogpa.runs import RunFolder, fingerprint
from videogpa.stages.score.judge import weights_identity
from videogpa.stages.score.judging import Judging, Trial
from videogpa.workers import Crew, fill, hire


def run(recipe: Recipe, folder: RunFolder) -> list[Score]:
    """Score the candidates of the training prompts with the critic that is to teach."""
    clips = manifests.clips(folder).rows()
    with hire(recipe.workers) as crew:
        return score_clips(clips, manifests.prompts(folder).rows(), [recipe.score], folder, crew)


def score_clips(
    clips: Sequence[Clip], prompts: Sequence[Prompt], configs: Sequence[ScoreConfig], folder: RunFolder, crew: Crew
) -> list[Score]:
    """Score the clips of a folder with one critic after the other, into its scores.jsonl."""
    by_prompt = {row.prompt: row for row in prompts}
    path = folder.path.resolve()
    weights = {config.critic: weights_identity(config) for config in configs}
    trials: dict[str, Trial] = {}
    wanted: dict[str, str] = {}
    for config in configs:
        for clip in clips:
            key, prompt = f"{config.critic} {clip.clip}", by_prompt[clip.prompt]
            trials[key] = Trial(config.critic, path / clip.path, clip.clip, prompt)
            wanted[key] = fingerprint(config, weights[config.critic], clip.fingerprint, prompt.scene)
    work = Judging(tuple(configs))
    return fill(manifests.scores(folder), wanted, lambda keys: crew.map(work, [trials[key] for key in keys], label="score"))

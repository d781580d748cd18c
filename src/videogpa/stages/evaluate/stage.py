"""Held-out prompts in, evaluation.json out. Clips and scores of both models lie in evaluation/base and evaluation/aligned."""

from functools import cache

from videogpa import manifests
from videogpa.config import Recipe
from videogpa.errors import UserError
from videogpa.models.loading import load_model, model_identity
from videogpa.records import Evaluation, Prompt, Score
from videogpa.runs import RunFolder, write_text
from videogpa.stages.evaluate.comparison import compare
from videogpa.stages.generate import make_clips
from videogpa.stages.score import score_clips


def run(recipe: Recipe, folder: RunFolder) -> Evaluation:
    """Compare base and aligned model on the held-out prompts.

    Raises:
        UserError: If fewer than two prompts are held out, or there is no adapter.
    """
    prompts = [prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "held_out"]
    if len(prompts) < 2:
        raise UserError(
            f"{folder / 'prompts.jsonl'} has {len(prompts)} prompts with the split `held_out`: a comparison takes two or more"
        )
    base, aligned = _score_models(recipe, folder, prompts)
    evaluation = Evaluation(
        critics={
            critic: compare(
                [row for row in base if row.critic == critic],
                [row for row in aligned if row.critic == critic],
                taught=critic == recipe.score.critic,
            )
            for critic in recipe.evaluate.critics
        }
    )
    write_text(folder / "evaluation.json", evaluation.model_dump_json(indent=1) + "\n")
    return evaluation


def _score_models(recipe: Recipe, folder: RunFolder, prompts: list[Prompt]) -> tuple[list[Score], list[Score]]:
    """Generate and score the clips of both models, on the same prompts and seeds."""
    model = cache(lambda: load_model(recipe.model, folder))
    first = recipe.evaluate.first_seed

    def score(name: str, *, adapted: bool) -> list[Score]:
        part = folder.folder(f"evaluation/{name}")
        clips = make_clips(
            model,
            prompts,
            range(first, first + recipe.evaluate.seeds),
            recipe.generate,
            part,
            images=folder.path,
            model_identity=model_identity(recipe.model, folder),
            adapter=folder / "adapter" if adapted else None,
        )
        return score_clips(clips, prompts, recipe.evaluating(), part)

    return score("base", adapted=False), score("aligned", adapted=True)

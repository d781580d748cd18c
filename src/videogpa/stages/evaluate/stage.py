"""Held-out prompts in, evaluation.json out. Clips and scores of both models lie in evaluation/base and evaluation/aligned."""

from videogpa import manifests
from videogpa.config import Recipe
from videogpa.errors import UserError
from videogpa.records import Evaluation, Prompt, Score
from videogpa.runs import RunFolder, write_text
from videogpa.stages.evaluate.comparison import compare
from videogpa.stages.generate import Adapter, make_clips
from videogpa.stages.score import score_clips
from videogpa.workers import hire


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
    """Generate and score the clips of both models, on the same prompts and seeds: the video model is loaded once."""
    prompts = [prompt.model_copy(update={"videos": ()}) for prompt in prompts]  # both models make their own
    first = recipe.evaluate.first_seed
    seeds = range(first, first + recipe.evaluate.seeds)
    critics = recipe.evaluating()
    aligned = Adapter((folder / "adapter").resolve())
    parts = {part: folder.folder(f"evaluation/{part}") for part in ("base", "aligned")}
    with hire(recipe.workers) as crew:
        clips = {
            "base": make_clips(prompts, seeds, recipe, folder, crew, into=parts["base"]),
            "aligned": make_clips(prompts, seeds, recipe, folder, crew, into=parts["aligned"], adapter=aligned),
        }
        base, other = (score_clips(clips[part], prompts, critics, parts[part], crew) for part in ("base", "aligned"))
    return base, other

"""evaluate: compare the base model with the aligned model on held-out prompts, with the same seeds for both.

In: the held-out prompts of prompts.jsonl, and adapter/, or the LoRA that `evaluate.adapter` names. Out: evaluation.json, with
the change of every measure, its interval and a verdict for each critic of `evaluate.critics`, at every strength of
`evaluate.adapter_scale`; what the judges of `evaluate.judges` prefer; and what the best of a prompt's clips are worth, chosen
by the critic of the pairs. Clips and scores of the two models lie in evaluation/base and evaluation/aligned (at strength 0.5:
evaluation/aligned-0.5; with a given LoRA: evaluation/adapter-1a2b3c4d, after its fingerprint), laid out like run folders.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from videogpa.config import Recipe, ScoreConfig, judge_configs
from videogpa.errors import InvalidInput
from videogpa.findings import AtStrength, BestOf, Change, CriticFindings, Evaluation, changes_by_name
from videogpa.models.loading import check_sampling
from videogpa.records import Diversity, Judgement, Prompt, Score
from videogpa.stages.best_of import compare_best
from videogpa.stages.diversity import clips_of_prompts
from videogpa.stages.generate import Adapter, given_adapter, make_clips, sampling_of
from videogpa.stages.judge import judge_clips
from videogpa.stages.judged import compare_judgements
from videogpa.stages.paired import compare_scores
from videogpa.stages.score import score_clips
from videogpa.storage import manifests
from videogpa.storage.files import write_text
from videogpa.storage.run_folder import RunFolder
from videogpa.text_files import plural
from videogpa.workers import open_pool


def run(recipe: Recipe, folder: RunFolder) -> Evaluation:
    """Generate and score clips of both models on the held-out prompts, and compare them.

    Args:
        recipe: The sections `evaluate`, `generate`, `model`, `score` and `workers` are read.
        folder: The run folder; evaluation.json is written into it.

    Returns:
        What evaluation.json holds.

    Raises:
        InvalidInput: If fewer than two prompts are held out, the model cannot make clips of this size, or the adapter does not
            fit it.
        MissingInput: If there is no adapter.
    """
    prompts = [prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "held_out"]
    if len(prompts) < 2:
        raise InvalidInput(
            f"{folder / 'prompts.jsonl'} has {plural(len(prompts), 'prompt')} with the split `held_out`: "
            "a comparison takes two or more"
        )
    check_sampling(recipe.model, folder, sampling_of(recipe.generate))
    adapter, given = _adapter(recipe, folder)
    base, aligned = _score_models(recipe, folder, prompts, adapter, given)
    of_base = clips_of_prompts(folder.subfolder("evaluation/base"))

    def compared(scale: float, found: _Found) -> AtStrength:
        judges = compare_judgements(base.judgements, found.judgements)
        critics = compare_critics(
            recipe,
            base.scores,
            found.scores,
            (of_base, clips_of_prompts(folder.subfolder(aligned_folder(scale, given)))),
            one_right_clip=all(prompt.scene is not None for prompt in prompts),
            judged=changes_by_name(judges),
        )
        return AtStrength(adapter_scale=scale, critics=critics, judges=judges)

    first, *others = (compared(scale, found) for scale, found in aligned.items())
    evaluation = Evaluation(
        critics=first.critics,
        judges=first.judges,
        adapter_scale=first.adapter_scale,
        further=tuple(others),
        best_of=_best_of(recipe, {"base": base.scores, "aligned": aligned[first.adapter_scale].scores}),
        adapter=None if recipe.evaluate.adapter is None else str(recipe.evaluate.adapter),
        adapter_fingerprint=given,
    )
    write_text(folder / "evaluation.json", evaluation.model_dump_json(indent=1) + "\n")
    return evaluation


def aligned_folder(scale: float, given: str | None) -> str:
    """Return where the aligned model's clips at a strength lie in a run folder.

    Args:
        scale: The factor on the adapter's strength.
        given: The fingerprint of the adapter that `evaluate.adapter` names; None for that of the run.
    """
    name = "evaluation/aligned" if given is None else f"evaluation/adapter-{given[:8]}"
    return name if scale == 1 else f"{name}-{scale:g}"


def _adapter(recipe: Recipe, folder: RunFolder) -> tuple[Path, str | None]:
    """Return the path of the aligned model's adapter, and its fingerprint if it is not that of the run."""
    if recipe.evaluate.adapter is None:
        return (folder / "adapter").resolve(), None
    from videogpa.models.adapters import adapter_fingerprint  # imported here because it imports peft

    path = given_adapter(recipe.evaluate.adapter)
    return path, adapter_fingerprint(path)


class _Found(NamedTuple):
    """What critics and judges say of a model's clips."""

    scores: list[Score]
    judgements: list[Judgement]


def _score_models(
    recipe: Recipe, folder: RunFolder, prompts: list[Prompt], path: Path, given: str | None
) -> tuple[_Found, dict[float, _Found]]:
    """Return what is said of the base model's clips, and of the aligned model's by strength.

    The video model is loaded once for all. The aligned clips are made first, so that an adapter that does not fit the model is
    noticed at once.
    """
    prompts = [prompt.model_copy(update={"videos": ()}) for prompt in prompts]  # both models generate: no clips of the user's
    config = recipe.evaluate
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    critics = [*recipe.evaluating(), *_choosing(recipe)]
    base = folder.subfolder("evaluation/base")
    aligned = {scale: folder.subfolder(aligned_folder(scale, given)) for scale in config.adapter_scale}
    with open_pool(recipe.workers) as pool:
        clips = {
            scale: make_clips(prompts, seeds, recipe, folder, pool, into=into, adapter=Adapter(path, scale))
            for scale, into in aligned.items()
        }
        base_clips = make_clips(prompts, seeds, recipe, folder, pool, into=base)
        models = [(base_clips, base), *((clips[scale], into) for scale, into in aligned.items())]
        scores = [score_clips(each, prompts, critics, into, pool) for each, into in models]
        judges = judge_configs(config.judges)  # after all scores: critic and judge are not in memory together
        judged = [judge_clips(each, prompts, judges, into, pool) if judges else [] for each, into in models]
    of_base, *of_aligned = (_Found(*both) for both in zip(scores, judged, strict=True))
    return of_base, dict(zip(aligned, of_aligned, strict=True))


def _choosing(recipe: Recipe) -> list[ScoreConfig]:
    """Return the critic that chooses the best of a prompt's clips, where it is to and does not score them anyway.

    It is the one that chose the pairs, and is loaded already; that of a run with a foreign adapter may not be here.
    """
    wanted = recipe.evaluate.best_of and recipe.evaluate.seeds > 1 and recipe.evaluate.adapter is None
    return [recipe.score] if wanted and recipe.score.critic not in recipe.evaluate.critics else []


def _best_of(recipe: Recipe, models: Mapping[str, Sequence[Score]]) -> tuple[BestOf, ...]:
    if not recipe.evaluate.best_of:
        return ()
    return compare_best(models, chosen_by=recipe.score.critic, critics=recipe.evaluate.critics, pair=recipe.pair)


def compare_critics(
    recipe: Recipe,
    base: Sequence[Score],
    aligned: Sequence[Score],
    diversity: tuple[Sequence[Diversity], Sequence[Diversity]],
    *,
    one_right_clip: bool,
    judged: Mapping[str, Change],
) -> dict[str, CriticFindings]:
    """Compare two models by each critic of the evaluation.

    The critic of the run's pairs chose those of its own adapter, not of a foreign one.

    Args:
        recipe: `evaluate` and the name of the scoring critic are read.
        base: Scores of the base model's clips, or of the round before.
        aligned: Those of the other model's, of the same prompts and seeds.
        diversity: How much the clips of each prompt differ, of both models.
        one_right_clip: Whether every prompt is a scene of the miniature world, which with its first frame and camera path has
            one right clip.
        judged: The changes of judges' numbers.
    """
    return {
        critic: compare_scores(
            [row for row in base if row.critic == critic],
            [row for row in aligned if row.critic == critic],
            chose_pairs=critic == recipe.score.critic and recipe.evaluate.adapter is None,
            diversity=diversity,
            one_right_clip=one_right_clip,
            judged=judged,
        )
        for critic in recipe.evaluate.critics
    }

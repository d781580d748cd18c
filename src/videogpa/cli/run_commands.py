"""Commands of a run, one function each: the whole recipe, or one of its stages.

A function's docstring is the help of its command, its arguments are the flags, and what it returns is what the command prints.
Nothing heavy is imported before a function is called, so that `--help` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from videogpa.defaults import Settings

if TYPE_CHECKING:
    from videogpa.config import Recipe
    from videogpa.findings import Evaluation
    from videogpa.pipeline import RunResult
    from videogpa.records import Clip, Latents, Pair, Prompt, Score

Target = Union[str, Path, "Recipe"]
"""A run: a run folder, a recipe file, the name of a recipe that comes with the package, or (from Python) a recipe."""


def run(
    recipe: Target,
    *,
    out: str | Path | None = None,
    set: Settings = (),
    rounds: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
) -> "RunResult":
    """Run a whole recipe: generate, score, pair, encode, train, evaluate, report.

    What is there already for the same settings is kept, so that a killed run continues where it was, and a changed setting
    redoes just what depends on it.

        videogpa run smoke-test
        videogpa run my-recipe.yaml --out runs/first --set train.steps=20
        videogpa run my-recipe.yaml --rounds 3                  # two more from there (docs/how-to/rounds.md)
        videogpa run my-recipe.yaml --workers 8                 # 8 GPUs of this machine
        videogpa run my-recipe.yaml --workers 32 --ray auto     # of a Ray cluster

    Args:
        recipe: A run folder, a recipe file, or the name of a recipe that comes with the package (see `videogpa list recipes`).
        out: The run folder. Default: runs/<name of the recipe>.
        set: Override a setting of the recipe, such as train.steps=20. May be repeated.
        rounds: Run the whole loop so many times, each from the adapter of the one before. A run that is there gets more rounds.
        workers: That many workers generate, score and encode, each with a GPU of its own where there are GPUs. Several need
            Ray: pip install 'videogpa[ray]'.
        ray: The address of a running Ray cluster, or auto: the workers are on its machines, which share the run folder.

    Returns:
        The rows of the run's manifests, the adapter's folder, the evaluation, and the path of the report.

    Raises:
        FileNotFoundError: If there is no such recipe, or a file that it names is missing.
        ValueError: If a setting is unknown or impossible.
        UserError: If something else is not as it has to be: another process works in the folder, the memory does not suffice.

    Examples:
        >>> result = videogpa.run("smoke-test", out="runs/first", set={"train.steps": 20})
        >>> result.evaluation.critics["oracle"].changes["loo_error"].difference
    """
    from videogpa import pipeline

    count = {} if rounds is None else {"rounds.count": rounds}
    return pipeline.run(*pipeline.open_run(recipe, {**_with_workers(set, workers), **count}, out, ray=ray))


def demo(*, out: str | Path | None = None, over_optimise: bool = False) -> "RunResult":
    """Align the miniature model that ships with the package, from prompts to report, on the CPU in about five minutes.

    A true result: base against aligned model on scenes that neither was trained on, with the same seeds, geometry and motion
    side by side (docs/science/demo.md).

        videogpa demo
        videogpa demo --over-optimise   # how preference training goes wrong: accuracy is perfect, and every clip gets worse

    Args:
        out: The run folder. Default: runs/demo, or runs/demo-over-optimised.
        over_optimise: Train with far too large steps. Winners and losers are both denoised worse than before, losers more so,
            which is all that loss and accuracy measure: look at the gains in the report.

    Returns:
        What `run` returns.
    """
    from videogpa.cli.demo import OVER_OPTIMISE, RECIPE

    settings = OVER_OPTIMISE if over_optimise else ()
    return run(RECIPE, out=out or Path("runs") / ("demo-over-optimised" if over_optimise else "demo"), set=settings)


def score_run(
    recipe: Target, *, out: str | Path | None = None, set: Settings = (), workers: int | None = None, ray: str | None = None
) -> "list[Score]":
    """Score the candidates of a run with the critic of its recipe. Video files are scored by `videogpa score`.

        videogpa score-run runs/mine
        videogpa score-run runs/mine --set score.critic=vggt --set score.options.weights=FOLDER

    Args:
        recipe: A run folder, a recipe file, or the name of a recipe that comes with the package.
        out: The run folder. Default: runs/<name of the recipe>.
        set: Override a setting of the recipe, such as score.frames=all. May be repeated.
        workers: Score with that many workers, each with a GPU of its own where there are GPUs. Several need Ray.
        ray: The address of a running Ray cluster, or auto.

    Returns:
        The row of every candidate.
    """
    from videogpa import pipeline

    with pipeline.opened(recipe, _with_workers(set, workers), out, ray=ray) as (config, folder):
        return pipeline.score.run(config, folder)


def show_prompts(recipe: Target, *, out: str | Path | None = None, set: Settings = ()) -> "list[Prompt]":
    """Show the prompts that a recipe would use, or write them to a file. Makes no run and loads no model.

    A recipe takes them from a file (JSONL, JSON, CSV, plain text), from a folder of images, or from the miniature world:
    docs/reference/prompts.md. The file written here can be edited, and used as `prompts.file`.

        videogpa prompts my-recipe.yaml
        videogpa prompts my-recipe.yaml --set prompts.camera.seed=1 --out prompts.jsonl

    Args:
        recipe: A run folder, a recipe file, or the name of a recipe that comes with the package.
        out: Write the prompts to this file, as JSONL.
        set: Override a setting of the recipe, such as prompts.held_out=8. May be repeated.

    Returns:
        The prompts, training and held out.
    """
    from videogpa.pipeline import open_run
    from videogpa.prompts.output import write_prompts
    from videogpa.stages.prompts import plan

    rows = plan(open_run(recipe, set, None)[0].prompts)
    if out is not None:
        write_prompts(rows, Path(out))
    return rows


def generate(
    recipe: Target,
    *,
    out: str | Path | None = None,
    set: Settings = (),
    workers: int | None = None,
    ray: str | None = None,
    adapter: str | Path | None = None,
    adapter_scale: float | None = None,
    keep_best_of: int | None = None,
) -> "list[Clip]":
    """Generate the candidates of every training prompt, or take those that the prompts bring (docs/reference/prompts.md).

    Every clip keeps the latents that it was decoded from, for training. With an adapter the clips are those of the aligned
    model; the adapter and its scale are part of what a clip is, so that another one makes the clips again.

        videogpa generate my-recipe.yaml --workers 8
        videogpa generate my-recipe.yaml --adapter runs/first/adapter --adapter-scale 0.5 --out runs/second
        videogpa generate my-recipe.yaml --keep-best-of 4     # the best of 4 by the recipe's critic, in best/

    Args:
        recipe: A run folder, a recipe file, or the name of a recipe that comes with the package.
        out: The run folder. Default: runs/<name of the recipe>.
        set: Override a setting of the recipe, such as generate.candidates=8. May be repeated.
        workers: Generate with that many workers, each with a GPU of its own where there are GPUs. Several need Ray.
        ray: The address of a running Ray cluster, or auto.
        adapter: A LoRA to generate with: the adapter/ folder of a run, or a published folder or file of PEFT, diffusers,
            ComfyUI or kohya's trainers. It must fit exactly.
        adapter_scale: The strength of the adapter: 1 (default) is as it was trained, 0 not at all.
        keep_best_of: Make so many candidates of each prompt, score them, and copy the best to best/<prompt>.mp4.

    Returns:
        The row of every candidate, or of those that were kept; paths in it are relative to the run folder.
    """
    from videogpa import pipeline
    from videogpa.stages.best_of import keep_best

    chosen = {} if adapter is None else {"generate.adapter": str(Path(adapter).absolute())}
    scale = {} if adapter_scale is None else {"generate.adapter_scale": adapter_scale}
    candidates = {} if keep_best_of is None else {"generate.candidates": keep_best_of}
    settings = {**_with_workers(set, workers), **chosen, **scale, **candidates}
    with pipeline.opened(recipe, settings, out, ray=ray) as (config, folder):
        pipeline.prompts.run(config, folder)
        clips = pipeline.generate.run(config, folder)
        if keep_best_of is None:
            return clips
        pipeline.score.run(config, folder)
        return keep_best(config, folder)


def pair(recipe: Target, *, out: str | Path | None = None, set: Settings = ()) -> "list[Pair]":
    """Pair the best and the worst candidate of every prompt, and print how many groups were lost where.

        videogpa pair runs/mine --set pair.min_gap=0.03

    Args:
        recipe: A run folder, a recipe file, or the name of a recipe that comes with the package.
        out: The run folder. Default: runs/<name of the recipe>.
        set: Override a setting of the recipe, such as pair.keep_motion=0.8. May be repeated.

    Returns:
        The preference pairs, and the groups that gave none with the reason.
    """
    from videogpa import pipeline

    with pipeline.opened(recipe, set, out) as (config, folder):
        return pipeline.pair.run(config, folder)


def encode(
    recipe: Target, *, out: str | Path | None = None, set: Settings = (), workers: int | None = None, ray: str | None = None
) -> "list[Latents]":
    """Encode the paired clips and their prompts into what training reads.

    Generated clips kept the latents that they were decoded from; only clips of your own are encoded.

        videogpa encode runs/mine --workers 8

    Args:
        recipe: A run folder, a recipe file, or the name of a recipe that comes with the package.
        out: The run folder. Default: runs/<name of the recipe>.
        set: Override a setting of the recipe. May be repeated.
        workers: Encode with that many workers, each with a GPU of its own where there are GPUs. Several need Ray.
        ray: The address of a running Ray cluster, or auto.

    Returns:
        The row of every encoded clip; paths in it are relative to the run folder.
    """
    from videogpa import pipeline

    with pipeline.opened(recipe, _with_workers(set, workers), out, ray=ray) as (config, folder):
        return pipeline.encode.run(config, folder)


def train(recipe: Target, *, out: str | Path | None = None, set: Settings = ()) -> Path:
    r"""Fine-tune the model towards the winners with LoRA: by DPO, on the winners alone, or both.

    Training goes on from the last checkpoint. What to read off its numbers, and what to do when memory is short:
    docs/how-to/train.md.

        videogpa train runs/mine --set train.loss=dpo+sft
        accelerate launch --multi_gpu --num_processes 8 -m videogpa.cli train runs/mine \
            --set train.gradient_accumulation_steps=2

    Args:
        recipe: A run folder, a recipe file, or the name of a recipe that comes with the package.
        out: The run folder. Default: runs/<name of the recipe>.
        set: Override a setting of the recipe, such as train.beta=2000. May be repeated.

    Returns:
        The folder of the trained adapter, in PEFT's format.

    Raises:
        FileNotFoundError: If there is no such recipe, or the run has no encoded pairs yet.
        ValueError: If a setting is unknown or impossible.
        UserError: If there is no pair to train on, the loss is no longer a number, or the memory does not suffice.

    Examples:
        >>> adapter = videogpa.train("runs/first", set={"train.steps": 200})
    """
    from videogpa import pipeline

    with pipeline.opened(recipe, set, out, several_processes=True) as (config, folder):
        return pipeline.train.run(config, folder)


def evaluate(
    recipe: Target,
    *,
    out: str | Path | None = None,
    set: Settings = (),
    workers: int | None = None,
    ray: str | None = None,
    adapter: str | Path | None = None,
) -> "Evaluation":
    """Compare base and aligned model on held-out prompts, on the same seeds.

    With an adapter that is given, such as a published one, the run needs no training: prompts, clips and scores are made.

        videogpa evaluate runs/mine --set evaluate.seeds=4
        videogpa evaluate cogvideox1.5-5b --adapter VideoGPA-T2V1.5-lora --out runs/theirs --set evaluate.adapter_scale=[0.1,1]

    Args:
        recipe: A run folder, a recipe file, or the name of a recipe that comes with the package.
        out: The run folder. Default: runs/<name of the recipe>.
        set: Override a setting of the recipe, such as evaluate.seeds=4. May be repeated.
        workers: Generate and score with that many workers, each with a GPU of its own where there are GPUs. Several need Ray.
        ray: The address of a running Ray cluster, or auto.
        adapter: Compare the base model with this LoRA in place of the run's own: see `videogpa generate`.

    Returns:
        Per critic the change of every measure with its 95 % interval, and the verdict on geometry and motion together.

    Raises:
        FileNotFoundError: If there is no such recipe, or the run has no trained adapter yet.
        ValueError: If a setting is unknown or impossible, or fewer than two prompts are held out.

    Examples:
        >>> findings = videogpa.evaluate("runs/first").critics["oracle"]
        >>> findings.changes["loo_error"].difference, findings.outcome.verdict
    """
    from videogpa import pipeline

    chosen = {} if adapter is None else {"evaluate.adapter": str(Path(adapter).absolute())}
    with pipeline.opened(recipe, {**_with_workers(set, workers), **chosen}, out, ray=ray) as (config, folder):
        pipeline.log_notes_on_evaluation(config)
        if config.evaluate.adapter is not None:
            pipeline.prompts.run(config, folder)
        return pipeline.evaluate.run(config, folder)


def report(recipe: Target, *, out: str | Path | None = None, set: Settings = ()) -> Path:
    """Write the run's report.html, one file that opens offline.

        videogpa report runs/mine

    Args:
        recipe: A run folder, a recipe file, or the name of a recipe that comes with the package.
        out: The run folder. Default: runs/<name of the recipe>.
        set: Override a setting of the recipe. May be repeated.

    Returns:
        The path of the report.
    """
    from videogpa import pipeline

    with pipeline.opened(recipe, set, out) as (config, folder):
        return pipeline.report.run(config, folder)


def _with_workers(settings: Settings, workers: int | None) -> dict[str, Any]:
    from videogpa.config import parse_settings

    count = {} if workers is None else {"workers.count": workers}
    return {**parse_settings(settings), **count}

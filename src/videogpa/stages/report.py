"""report: show the run on one page.

In: what the other stages have left in the run folder. Out: report.html, a single file that opens offline. It is written anew
each time: that is quick, and the page then shows exactly what is there.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from videogpa.config import Recipe, TrainConfig
from videogpa.errors import InvalidInput, problems
from videogpa.findings import Evaluation
from videogpa.records import Pair, Score
from videogpa.renames import upgrade_columns
from videogpa.report.player_files import PLAYERS
from videogpa.report.players import keep_in_step
from videogpa.report.run import ClipNumbers, ClipPair, FunnelStep, NotScored, Panel, RunSummary, write_run_report
from videogpa.stages import rounds as of_rounds
from videogpa.stages.evaluate import aligned_folder
from videogpa.stages.pair import funnel
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.text_files import read_text
from videogpa.training.losses import loss_at_reference
from videogpa.training.metrics import metrics_at
from videogpa.training.verdict import verdict

_log = logging.getLogger(__name__)

_LARGEST_EVALUATION = 1 << 26  # bytes

MOST_CLIP_PAIRS = 8  # prompts whose clips are shown side by side; each adds about 0.1 MB


def run(recipe: Recipe, folder: RunFolder) -> Path:
    """Write the report of the run.

    Args:
        recipe: Its name, the measure that pairs were chosen by, and the critics of the evaluation are read.
        folder: The run folder, with all stages before this one finished.

    Returns:
        The path of report.html.
    """
    evaluation = read_evaluation(folder / "evaluation.json")
    own = evaluation.adapter is None  # else the run's own training, if there was one, has nothing to do with the comparison
    rounds = of_rounds.read(folder, evaluation.adapter_scale) if own else None
    places = of_rounds.models(len(rounds.against_base), evaluation.adapter_scale) if rounds else _models(evaluation)
    parts = {model: folder.subfolder(path) for model, path in places.items()}
    scores = {model: manifests.scores(part).rows() for model, part in parts.items()}
    pairs = manifests.pairs(folder).rows() if own else []
    measure = recipe.pair.measure
    shown = {model: _by_clip(rows, recipe.evaluate.critics[0]) for model, rows in scores.items()}
    summary = RunSummary(
        name=recipe.name,
        evaluation=evaluation,
        rounds=rounds,
        recipe=(folder / "recipe.yaml").read_text(encoding="utf-8"),
        measure=measure,
        funnel=_funnel(pairs) if own else [],
        dropped=dict(Counter(row.dropped for row in pairs if row.dropped is not None)),
        panels=training_panels(folder / "train/metrics.jsonl", recipe.train) if own else [],
        trained=verdict(metrics_at(folder / "train/metrics.jsonl").rows()) if own else "",
        clip_pairs=list(_clip_pairs(folder, parts, shown, measure)),
        clips=list(_clips(shown, measure)),
        not_scored=list(_not_scored({**({"candidates": manifests.scores(folder).rows()} if own else {}), **scores})),
    )
    path = folder / "report.html"
    write_run_report(path, summary)
    return path


def _models(evaluation: Evaluation) -> dict[str, str]:
    """Return the base model and the aligned one at each strength, as the page calls them, and where their clips lie."""
    given = evaluation.adapter_fingerprint
    aligned = {f"aligned{evaluation.label(scale)}": aligned_folder(scale, given) for scale in evaluation.strengths()}
    return {"base": "evaluation/base", **aligned}


def read_evaluation(path: Path) -> Evaluation:
    """Read evaluation.json, of this version or the one before.

    Raises:
        MissingInput: If there is none.
        InvalidInput: If it is damaged; the message says how to make it again.
    """
    text = read_text(path, expected="an evaluation", budget=_LARGEST_EVALUATION)
    try:
        content = from_json(text)
        whole = upgrade_columns(path.name, content, str(path)) if isinstance(content, dict) else content
        return Evaluation.model_validate(whole)
    except ValidationError as error:
        reason = "; ".join(problems(error, whole="the file")[:2])
    except ValueError as error:
        reason = str(error)
    raise InvalidInput(
        f"{path} is damaged ({reason[:300]}): run `videogpa evaluate` again, which keeps the clips and scores that are there"
    )


def _by_clip(rows: list[Score], critic: str) -> dict[str, Score]:
    return {row.clip: row for row in rows if row.critic == critic}


def _funnel(rows: list[Pair]) -> list[FunnelStep]:
    counts = funnel(rows)
    return [
        FunnelStep("groups of candidates", counts.groups),
        *(FunnelStep(step, count) for step, count in counts.left.items()),
        FunnelStep("pairs", counts.pairs),
    ]


def training_panels(metrics: Path, settings: TrainConfig) -> list[Panel]:
    """Return the training curves: does the loss fall below that of the reference, and do winners gain over it?"""
    if not metrics.exists():
        _log.warning("%s is gone: the report has no curves of the training", metrics)
    rows = [row.model_dump() for row in metrics_at(metrics).rows()]

    def curves(*names: str) -> dict[str, tuple[list[int], list[float]]]:
        drawn = {}
        for name, split in product(names, ("train", "held_out")):
            points = [(row["step"], row[name]) for row in rows if row["split"] == split and row[name] is not None]
            if points:
                label = name.replace("_", " ") + (", held out" if split == "held_out" else "")
                drawn[label] = ([step for step, _ in points], [value for _, value in points])
        return drawn

    return [
        Panel("loss", curves("loss"), reference=_loss_at_reference(rows, settings)),
        Panel("gain over the reference", curves("winner_gain", "loser_gain"), reference=0.0),
        Panel("implicit accuracy", curves("accuracy"), reference=0.5),
        Panel("gradient norm", curves("gradient_norm")),
    ]


def _loss_at_reference(rows: list[dict[str, Any]], settings: TrainConfig) -> float | None:
    """Return the loss of a policy that equals its reference; where it depends on the data, that of the held-out pairs, if any.

    Before the first step the policy is its reference, and the held-out pairs are always measured with the same noise. It is not
    where training goes on from an adapter and the reference is the base.
    """
    known = loss_at_reference(settings)
    if settings.initial_adapter is not None and settings.reference == "base":
        return known
    measured = (row["loss"] for row in rows if row["split"] == "held_out" and row["step"] == 0)
    return next(measured, None) if known is None else known


def _clip_pairs(
    folder: RunFolder, parts: Mapping[str, RunFolder], scores: Mapping[str, Mapping[str, Score]], measure: str
) -> Iterator[ClipPair]:
    """Return, for each of the first held-out prompts, the clips that all models made with the first seed."""
    rows = {model: {row.clip: row for row in manifests.clips(part).rows()} for model, part in parts.items()}
    first = {row.prompt: row.clip for row in reversed(rows["base"].values())}
    for clip in list(reversed(first.values()))[:MOST_CLIP_PAIRS]:
        if all(clip in of_model for of_model in rows.values()):
            player = keep_in_step(folder / PLAYERS, {model: part / rows[model][clip].path for model, part in parts.items()})
            found = {model: scores[model].get(clip) for model in parts}
            numbers = {model: (_value(row, measure), _value(row, "flow")) for model, row in found.items()}
            yield ClipPair(clip, numbers, Path(PLAYERS) / player.name)


def _value(row: Score | None, name: str) -> float | None:
    value: float | None = getattr(row, name, None)
    return value


def _clips(scores: Mapping[str, Mapping[str, Score]], measure: str) -> Iterator[ClipNumbers]:
    for model, rows in scores.items():
        for row in rows.values():
            value = _value(row, measure)
            if row.status == "ok" and value is not None and row.flow is not None:
                yield ClipNumbers(row.clip, model, value, row.flow)


def _not_scored(scores: Mapping[str, Sequence[Score]]) -> Iterator[NotScored]:
    for model, rows in scores.items():
        for row in rows:
            if row.status != "ok":
                yield NotScored(row.clip, model, row.critic, row.status, row.reason or "")

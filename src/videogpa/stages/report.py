"""report: the run on one page, from the files that the other stages left."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from videogpa.config import Recipe
from videogpa.records import Evaluation, Pair, Score
from videogpa.report.run import Comparison, Failure, Film, FunnelStep, Judged, Panel, RunSummary, write_run_report
from videogpa.report.strips import make_film
from videogpa.report.verdict import headline
from videogpa.stages.pair import funnel
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.video import read_frames

MOST_FILMS = 8  # prompts shown side by side; each costs some 40 kB
MODELS = ("base", "aligned")


def run(recipe: Recipe, folder: RunFolder) -> Path:
    """Write the report of the run, and return its path. Made anew each time: it is quick, and only shows what is there."""
    evaluation = Evaluation.model_validate_json((folder / "evaluation.json").read_text(encoding="utf-8"))
    judge = recipe.evaluate.critics[0]
    scores = {model: _scores(folder, model) for model in MODELS}
    pairs = manifests.pairs(folder).rows()
    summary = RunSummary(
        name=recipe.name,
        comparisons=list(_comparisons(evaluation)),
        recipe=(folder / "recipe.yaml").read_text(encoding="utf-8"),
        measure=recipe.pair.measure,
        verdicts=list(_verdicts(evaluation)),
        funnel=_funnel(pairs),
        dropped=dict(Counter(row.dropped for row in pairs if row.dropped is not None)),
        panels=_panels(folder / "train/metrics.jsonl"),
        films=list(_films(folder, {model: _of(rows, judge) for model, rows in scores.items()}, recipe.pair.measure)),
        judged=list(_judged(scores, judge, recipe.pair.measure)),
        failures=list(_failures(folder, scores)),
    )
    path = folder / "report.html"
    write_run_report(path, summary)
    return path


def _scores(folder: RunFolder, model: str) -> list[Score]:
    return manifests.scores(folder.folder(f"evaluation/{model}")).rows()


def _of(rows: list[Score], critic: str) -> dict[str, Score]:
    return {row.clip: row for row in rows if row.critic == critic}


def _comparisons(evaluation: Evaluation) -> Iterator[Comparison]:
    for critic, findings in evaluation.critics.items():
        name = f"{critic} (the teacher)" if findings.chose_pairs else critic
        for measure, change in findings.changes.items():
            yield Comparison(
                critic=name,
                measure=measure,
                base=change.base,
                aligned=change.aligned,
                change=change.difference,
                low=change.low,
                high=change.high,
                n=change.n,
            )


def _verdicts(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    for critic, findings in evaluation.critics.items():
        if findings.outcome is not None:
            yield findings.outcome.verdict, headline(critic, findings.outcome)


def _funnel(rows: list[Pair]) -> list[FunnelStep]:
    counts = funnel(rows)
    return [
        FunnelStep("groups of candidates", counts.groups),
        *(FunnelStep(step, count) for step, count in counts.left.items()),
        FunnelStep("pairs", counts.pairs),
    ]


def _panels(metrics: Path) -> list[Panel]:
    """The questions asked of a training: does the loss fall below log 2, and who gains over the reference?"""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]

    def curves(*names: str) -> dict[str, tuple[list[int], list[float]]]:
        drawn = {}
        for name, split in product(names, ("train", "held_out")):
            points = [(row["step"], row[name]) for row in rows if row["split"] == split and row[name] is not None]
            if points:
                label = name.replace("_", " ") + (", held out" if split == "held_out" else "")
                drawn[label] = ([step for step, _ in points], [value for _, value in points])
        return drawn

    return [
        Panel("loss", curves("loss"), reference=0.6931),
        Panel("gain over the reference", curves("winner_gain", "loser_gain"), reference=0.0),
        Panel("implicit accuracy", curves("accuracy"), reference=0.5),
        Panel("gradient norm", curves("gradient_norm")),
    ]


def _films(folder: RunFolder, scores: dict[str, dict[str, Score]], measure: str) -> Iterator[Film]:
    """One film pair per held-out prompt: the first seed, of both models."""
    rows = {model: manifests.clips(folder.folder(f"evaluation/{model}")).rows() for model in MODELS}
    aligned = {row.clip: row for row in rows["aligned"]}
    first = {row.prompt: row for row in reversed(rows["base"])}
    for clip in list(reversed(first.values()))[:MOST_FILMS]:
        if clip.clip in aligned:
            before, after = (scores[model].get(clip.clip) for model in MODELS)
            yield Film(
                label=clip.clip,
                base=make_film(read_frames(folder / f"evaluation/base/{clip.path}")),
                aligned=make_film(read_frames(folder / f"evaluation/aligned/{aligned[clip.clip].path}")),
                base_score=_value(before, measure),
                base_motion=_value(before, "flow"),
                aligned_score=_value(after, measure),
                aligned_motion=_value(after, "flow"),
            )


def _value(row: Score | None, name: str) -> float | None:
    value: float | None = getattr(row, name, None)
    return value


def _judged(scores: dict[str, list[Score]], critic: str, measure: str) -> Iterator[Judged]:
    for model in MODELS:
        for row in _of(scores[model], critic).values():
            value = _value(row, measure)
            if row.status == "ok" and value is not None and row.flow is not None:
                yield Judged(row.clip, "base" if model == "base" else "aligned", value, row.flow)


def _failures(folder: RunFolder, scores: dict[str, list[Score]]) -> Iterator[Failure]:
    for model, rows in {"candidates": manifests.scores(folder).rows(), **scores}.items():
        for row in rows:
            if row.status != "ok":
                yield Failure(row.clip, model, row.critic, row.status, row.reason or "")

"""What `preference.py` measures: trainings of the demo's model, their clips of unseen scenes, and their gains on unseen pairs.

Everything is a run folder, so that what was killed goes on where it was, and what two methods share is made once: the training
scenes with their candidates and scores, the base model's clips of the scenes to judge by, and the held-out pairs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor

from ablations import share
from videogpa.bundled import recipes_folder
from videogpa.config import Recipe, ScoreConfig, TrainConfig, load_recipe
from videogpa.maths.dpo import improvement
from videogpa.models.adapters import adapter_fingerprint, load_weights, new_adapter
from videogpa.models.base import TRAINED_PARTS, VideoModel
from videogpa.models.loading import load_model
from videogpa.pipeline import STAGES
from videogpa.records import Score
from videogpa.stages.diversity import clips_of_prompts
from videogpa.stages.generate import Adapter, make_clips
from videogpa.stages.score import score_clips
from videogpa.storage import manifests
from videogpa.storage.files import write_text
from videogpa.storage.fingerprints import fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.training.backward import joint_errors
from videogpa.training.data import Batch, Batches, EncodedPair, read_pairs
from videogpa.workers import open_pool

CHOOSING, REPORTING, PAIRS = "choosing", "reporting", "pairs"
SCENES = {CHOOSING: (72, 3_000_000), REPORTING: (144, 3_100_000), PAIRS: (240, 3_200_000)}
"""How many scenes, and the seed of the first. The miniatures' training and every other figure use other seeds."""

SEEDS_OF_CLIPS = range(1000, 1002)
QUANTILES = (0.125, 0.375, 0.625, 0.875)
JUDGE = ScoreConfig(critic="oracle", frames=9)


@dataclass(frozen=True)
class Method:
    """A line of the table: its name, and the settings of the demo's recipe that it changes."""

    name: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A method with a seed of its training: one run folder."""

    method: Method
    seed: int
    recipe: Recipe
    folder: RunFolder


@dataclass(frozen=True)
class Study:
    """Where everything lies, and the settings that all methods share."""

    out: Path
    settings: tuple[str, ...] = ()
    scenes: tuple[tuple[str, tuple[int, int]], ...] = tuple(SCENES.items())

    def recipe(self, *changes: str) -> Recipe:
        """Return the demo's recipe with the study's settings and these changes."""
        quiet = ("train.held_out=0.0", "train.validate_every=100000", "train.checkpoint_every=100000")
        return load_recipe(recipes_folder() / "demo.yaml", [*quiet, *self.settings, *changes])

    def world(self, name: str) -> Recipe:
        """Return the recipe of the scenes for choosing, for reporting, or for the held-out pairs."""
        count, seed = dict(self.scenes)[name]
        return self.recipe(f"prompts.world.train={count}", f"prompts.world.seed={seed}", "prompts.world.held_out=2")

    def line(self, method: Method, seed: int) -> Line:
        """Return a method's training with a seed. Equal settings share a folder, whatever their names."""
        recipe = self.recipe(*method.changes, f"train.seed={seed}")
        return Line(method, seed, recipe, RunFolder(self.out / "lines" / f"{fingerprint(recipe)[:10]}-seed{seed}"))

    def folder(self, name: str) -> RunFolder:
        """Return the folder of what lines share."""
        return RunFolder(self.out / name)


def prepare(study: Study, scenes: str) -> None:
    """Make what all lines share: candidates with scores, the base model's clips of the scenes, and the held-out pairs."""
    for name, recipe, stages in (
        ("candidates", study.recipe(), ("prompts", "generate", "score")),
        (PAIRS, study.world(PAIRS), ("prompts", "generate", "score", "pair", "encode")),
        (scenes, study.world(scenes), ("prompts",)),
    ):
        with study.folder(name).lock():
            for stage in stages:
                STAGES[stage].run(recipe, study.folder(name))
    with study.folder(scenes).lock():
        _judge(study, scenes, study.folder(scenes).subfolder("base"), None)


def train(study: Study, line: Line) -> None:
    """Choose the pairs of a line, and train on them."""
    with line.folder.lock():
        share(study.folder("candidates").path, line.folder.path)
        for stage in ("prompts", "generate", "score", "pair", "encode", "train"):
            STAGES[stage].run(line.recipe, line.folder)


def judge(study: Study, line: Line | None, scenes: str) -> list[Score]:
    """Return the judge's scores of a line's clips of these scenes, or (None) of the base model's."""
    if line is None:
        return manifests.scores(study.folder(scenes).subfolder("base")).rows()
    with line.folder.lock():
        return _judge(study, scenes, line.folder.subfolder(scenes), Adapter((line.folder / "adapter").resolve(), 1.0))


def diversity(study: Study, line: Line | None, scenes: str) -> dict[str, float]:
    """Return the mean LPIPS between the clips of each prompt."""
    folder = study.folder(scenes).subfolder("base") if line is None else line.folder.subfolder(scenes)
    return {row.prompt: row.diversity for row in clips_of_prompts(folder) if row.diversity is not None}


def _judge(study: Study, scenes: str, into: RunFolder, adapter: Adapter | None) -> list[Score]:
    recipe, folder = study.world(scenes), study.folder(scenes)
    prompts = [prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "train"]
    with open_pool(recipe.workers) as pool:
        clips = make_clips(prompts, SEEDS_OF_CLIPS, recipe, folder, pool, into=into, adapter=adapter)
        return score_clips(clips, prompts, [JUDGE], into, pool)


# The gains on held-out pairs.


@dataclass(frozen=True)
class Gains:
    """What a training has learned of pairs that it never saw; one number per pair, the mean over four noise levels."""

    prompts: list[str]
    winner: list[float]
    accuracy: list[float]


def gains(study: Study, line: Line) -> Gains:
    """Measure by how much a line's adapter denoises the held-out winners and losers better than the base model does."""
    kept, adapter = line.folder / "gains.json", line.folder / "adapter"
    made_from = adapter_fingerprint(adapter)
    if kept.exists():
        found = json.loads(kept.read_text())
        if found.pop("adapter") == made_from:
            return Gains(**found)
    pairs = read_pairs(study.folder(PAIRS))
    reference = _reference_errors(study)
    model, policy = _with_adapter(line.recipe.train, study)
    load_weights(policy, adapter)
    after = _errors(study, model, pairs)
    winner, loser = (improvement(after[name], reference[name]) for name in ("winner", "loser"))
    right = 0.5 * (1 + (winner - loser).sign())
    measured = Gains([pair.winner.prompt for pair in pairs], winner.mean(1).tolist(), right.mean(1).tolist())
    write_text(kept, json.dumps({**measured.__dict__, "adapter": made_from}) + "\n")
    policy.unload()
    return measured


def _with_adapter(settings: TrainConfig, study: Study) -> tuple[VideoModel, PeftModel]:
    recipe = study.recipe()
    model = load_model(recipe.model, study.folder(PAIRS), parts=TRAINED_PARTS)
    targets, rank, alpha = model.lora_targets, settings.lora_rank, settings.lora_alpha
    return model, new_adapter(model.transformer, targets=targets, rank=rank, alpha=alpha, seed=0)


@lru_cache(maxsize=1)
def _reference_errors(study: Study) -> Mapping[str, Tensor]:
    """The base model's errors on the held-out pairs, which every line is measured against."""
    model, policy = _with_adapter(study.recipe().train, study)  # a fresh adapter changes nothing
    found = _errors(study, model, read_pairs(study.folder(PAIRS)))
    policy.unload()
    return found


@torch.no_grad()
def _errors(study: Study, model: VideoModel, pairs: Sequence[EncodedPair]) -> dict[str, Tensor]:
    """Return the denoising errors on winners and losers: pairs x noise levels."""
    batches = Batches(pairs, study.folder(PAIRS), model, torch.device("cpu"), study.recipe().train.timesteps, seed=0)
    rows = []
    for index in range(len(pairs)):
        levels = [batches.fixed(index, quantile) for quantile in QUANTILES]
        rows.append(joint_errors(model, _together(levels), static=False))
    return {
        "winner": torch.stack([row["policy_winner"] for row in rows]),
        "loser": torch.stack([row["policy_loser"] for row in rows]),
    }


def _together(batches: Sequence[Batch]) -> Batch:
    return Batch(
        winner=torch.cat([batch.winner for batch in batches]),
        loser=torch.cat([batch.loser for batch in batches]),
        noise=torch.cat([batch.noise for batch in batches]),
        timesteps=torch.cat([batch.timesteps for batch in batches]),
        conditions={name: torch.cat([batch.conditions[name] for batch in batches]) for name in batches[0].conditions},
    )

"""Quality of the video model, measured on scenes that neither training nor any recipe uses.

The numbers are reported beside those of true and failing clips that went through the same autoencoder, so that errors of the
transformer can be told from the blur of the autoencoder.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import torch
from jaxtyping import Float
from torch import Tensor

from miniatures.clips import plain_scene
from miniatures.plan import CHECKED_SCENES, Plan
from miniatures.transformer import load_folder
from videogpa.maths.images import mse
from videogpa.models.base import GenerationRequest, Sampling, VideoModel
from videogpa.records import Prompt, Scene
from videogpa.scoring.scorer import Scorer
from videogpa.storage.files import atomic_path, write_text
from videogpa.video import jpeg_bytes
from videogpa.workers import map_items
from videogpa.world.failures import Failure, render_failing
from videogpa.world.paths import PATHS
from videogpa.world.prompts import view
from videogpa.world.words import request

_log = logging.getLogger(__name__)

STRIP_SCENES, STRIP_SEEDS, STRIP_SCALE = 6, 3, 2
TYPICAL = 0.95  # the share of true clips that must count as consistent, which determines the threshold


@dataclass(frozen=True)
class Measured:
    """One clip's measures by the oracle critic, its motion, and the camera path that it follows."""

    scene: int
    camera: str
    kind: str
    """`true`, `failing` (both through the autoencoder), or `sample`."""
    loo_error: float
    loo_mse: float
    flow: float
    first_psnr: float
    psnr: float
    follows: str
    """The path whose true clip in this scene is nearest by mean squared error."""


def check(plan: Plan, folder: Path, out: Path, device: torch.device) -> dict[str, float]:
    """Measure the model in `folder`; write `check.json`, `clips.jsonl` and `strips.jpg` to `out`, and return the summary.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        folder: The model, as diffusers saves it.
        out: The folder to which the files are written.
        device: Where the tensors are computed.
    """
    model = load_folder(folder, device)
    scorer = Scorer(critic="oracle", frames=plan.frames)
    rows: list[Measured] = []
    strips: list[Tensor] = []
    scenes = [plain_scene(plan, CHECKED_SCENES + n, list(PATHS)[n % len(PATHS)]) for n in range(plan.checked_scenes)]
    for measured, strip in map_items(lambda scene: _check_scene(plan, model, scorer, scene), scenes, label="check"):
        rows += measured
        strips.append(strip)
    summary = summarise(rows)
    write_text(out / "clips.jsonl", "".join(json.dumps(asdict(row)) + "\n" for row in rows))
    write_text(out / "check.json", json.dumps(summary, indent=1) + "\n")
    with atomic_path(out / "strips.jpg") as temporary:
        temporary.write_bytes(jpeg_bytes(torch.cat(strips[:STRIP_SCENES], dim=1), 85))
    return summary


def summarise(rows: list[Measured]) -> dict[str, float]:
    """Return the numbers that describe the model's quality.

    Args:
        rows: One for each clip that was measured: true ones, failing ones and samples.
    """
    true, failing, samples = ([row for row in rows if row.kind == kind] for kind in ("true", "failing", "sample"))
    threshold = sorted(row.loo_error for row in true)[min(len(true) - 1, int(TYPICAL * len(true)))]
    spreads = [
        [row.loo_error for row in samples if row.scene == scene] for scene in dict.fromkeys(row.scene for row in samples)
    ]
    pairs = [(a.loo_error, b.loo_error) for a in true for b in failing]
    return {
        "autoencoder_psnr": fmean(row.psnr for row in true),
        "autoencoder_psnr_failing": fmean(row.psnr for row in failing),
        "error_true": median(row.loo_error for row in true),
        "error_failing": median(row.loo_error for row in failing),
        "auc_failing_against_true": fmean((b > a) + 0.5 * (a == b) for a, b in pairs),
        "threshold": threshold,
        "error_samples": median(row.loo_error for row in samples),
        "failing_share": fmean(row.loo_error > threshold for row in samples),
        "error_best_candidate": fmean(min(scores) for scores in spreads),
        "error_worst_candidate": fmean(max(scores) for scores in spreads),
        "first_frame_psnr": fmean(row.first_psnr for row in samples),
        "psnr_to_truth": fmean(row.psnr for row in samples),
        "follows_the_path": fmean(row.follows == row.camera for row in samples),
        "flow_samples": fmean(row.flow for row in samples),
        "flow_true": fmean(row.flow for row in true),
    }


def _check_scene(plan: Plan, model: VideoModel, scorer: Scorer, scene: Scene) -> tuple[list[Measured], Tensor]:
    """Measure the scene's true clip, a failing one, and the model's samples. Return the rows and a picture of the clips."""
    truth = view(scene).images
    number = scene.seed - CHECKED_SCENES
    failure = Failure(kind=plan.failures[number % len(plan.failures)], strength=0.75, seed=number)
    failing = render_failing(scene, failure)
    text = request(scene.camera, "scripted", seed=scene.seed)
    sampling = Sampling(plan.frames, plan.size, plan.size, plan.sampling_steps, 1.0)
    requests = [GenerationRequest(text, truth[0], seed) for seed in range(plan.checked_seeds)]
    samples = [sample.video for sample in model.generate(requests, sampling)]
    paths = {camera: view(scene.model_copy(update={"camera": camera})).images for camera in PATHS}
    restored = [("true", _through(model, truth), truth), ("failing", _through(model, failing), failing)]
    clips = restored + [("sample", sample, truth) for sample in samples]
    rows = [_measure(scorer, scene, kind, clip, reference, paths) for kind, clip, reference in clips]
    shown = [truth, *samples[:STRIP_SEEDS]]
    strip = torch.cat([torch.cat(list(clip), dim=2) for clip in shown], dim=1)
    return rows, strip.repeat_interleave(STRIP_SCALE, 1).repeat_interleave(STRIP_SCALE, 2)


def _through(model: VideoModel, clip: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames 3 height width"]:
    return model.decode_latents(model.encode_video(clip))


def _measure(scorer: Scorer, scene: Scene, kind: str, clip: Tensor, reference: Tensor, paths: dict[str, Tensor]) -> Measured:
    prompt = Prompt(prompt=f"scene-{scene.seed}", text="", scene=scene)
    score = scorer.score_clip(clip.clamp(0, 1), clip=kind, prompt=prompt).score
    distances = {camera: float(mse(clip, path).mean()) for camera, path in paths.items()}
    return Measured(
        scene=scene.seed,
        camera=scene.camera,
        kind=kind,
        loo_error=float(score.loo_error or 0),
        loo_mse=float(score.loo_mse or 0),
        flow=float(score.flow or 0),
        first_psnr=_psnr(clip[:1], reference[:1]),
        psnr=_psnr(clip, reference),
        follows=min(distances, key=lambda camera: distances[camera]),
    )


def _psnr(clip: Tensor, reference: Tensor) -> float:
    return float(-10 * mse(clip, reference).mean().log10())

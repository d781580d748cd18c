"""Score the 3D consistency of videos, and align video diffusion models with it.

Examples:
    >>> import videogpa
    >>> row = videogpa.score("clip.mp4")  # a typed row: status, loo_error, flow, ...
    >>> with videogpa.Scorer("sfm") as scorer:  # many clips, one critic
    ...     rows = [scorer.score(clip) for clip in clips]
    >>> mine = videogpa.Reconstruction.from_arrays(images=rgb, depth=depth, intrinsics=k, camera_from_world=poses)
    >>> videogpa.score_reconstruction(mine, videogpa.Lpips("alex")).loo_error
    >>> result = videogpa.run("smoke-test", out="runs/first")  # the whole method

Nothing heavy is imported before a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from videogpa.cli.commands import compare as compare
    from videogpa.cli.commands import score_files as score_files
    from videogpa.cli.judge_command import judge_files as judge_files
    from videogpa.cli.run_commands import evaluate as evaluate
    from videogpa.cli.run_commands import run as run
    from videogpa.cli.run_commands import train as train
    from videogpa.config import load_recipe as load_recipe
    from videogpa.critics.base import ReconstructionFailed as ReconstructionFailed
    from videogpa.errors import UserError as UserError
    from videogpa.maths.dpo import dpo_logits as dpo_logits
    from videogpa.maths.dpo import dpo_loss as dpo_loss
    from videogpa.measures import MEASURES as MEASURES
    from videogpa.reconstruction import Reconstruction as Reconstruction
    from videogpa.records import Score as Score
    from videogpa.scoring.lpips import Lpips as Lpips
    from videogpa.scoring.reprojection import paper_scores as paper_scores
    from videogpa.scoring.reprojection import render_leave_one_out as render_leave_one_out
    from videogpa.scoring.reprojection import render_splat as render_splat
    from videogpa.scoring.scorer import Scorer as Scorer
    from videogpa.scoring.scorer import reconstruct as reconstruct
    from videogpa.scoring.scorer import score as score
    from videogpa.scoring.scores import score_reconstruction as score_reconstruction
    from videogpa.stages.pair import choose_pairs as choose_pairs
    from videogpa.stages.paired import compare_scores as compare_scores

_HOMES = {
    "Lpips": "scoring.lpips",
    "MEASURES": "measures",
    "Reconstruction": "reconstruction",
    "ReconstructionFailed": "critics.base",
    "Score": "records",
    "Scorer": "scoring.scorer",
    "UserError": "errors",
    "choose_pairs": "stages.pair",
    "compare": "cli.commands",
    "compare_scores": "stages.paired",
    "dpo_logits": "maths.dpo",
    "dpo_loss": "maths.dpo",
    "evaluate": "cli.run_commands",
    "judge_files": "cli.judge_command",
    "load_recipe": "config",
    "paper_scores": "scoring.reprojection",
    "reconstruct": "scoring.scorer",
    "render_leave_one_out": "scoring.reprojection",
    "render_splat": "scoring.reprojection",
    "run": "cli.run_commands",
    "score": "scoring.scorer",
    "score_files": "cli.commands",
    "score_reconstruction": "scoring.scores",
    "train": "cli.run_commands",
}
"""Every public name and the module that holds it."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _HOMES:
        return getattr(import_module(f"videogpa.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)

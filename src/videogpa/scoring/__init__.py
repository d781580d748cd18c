"""Scores of a clip, or of any reconstruction of one: what a researcher imports.

A critic estimates the cameras and the depth of a clip. Its point cloud, rendered back into the frames, disagrees with them
where the clip is not one consistent 3D scene.

Examples:
    >>> from videogpa.scoring import Lpips, Reconstruction, Scorer, score_reconstruction
    >>> with Scorer("sfm", frames=10) as scorer:  # many clips, one critic
    ...     row = scorer.score("clip.mp4")
    ...     geometry = scorer.reconstruct("clip.mp4")
    >>> row.status, row.loo_error, row.flow
    >>> mine = Reconstruction.from_arrays(images=rgb, depth=depth, intrinsics=k, camera_from_world=poses)
    >>> score_reconstruction(mine, Lpips("alex")).error_3dcs

Read in this order: `scorer.py` (a clip in, a row out), `scores.py` (all numbers of a reconstruction), `reprojection.py`
(renders and errors), `long_clips.py` (the same for clips of any length).
"""

from videogpa.critics.base import CriticInput, ReconstructionFailed
from videogpa.reconstruction import Reconstruction
from videogpa.records import Score
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.optical_flow import mean_flow
from videogpa.scoring.reprojection import Render, leave_one_out_scores, paper_scores, render_leave_one_out, render_splat
from videogpa.scoring.scorer import ScoredClip, Scorer
from videogpa.scoring.scores import Scores, score_reconstruction

__all__ = [
    "CriticInput",
    "Lpips",
    "Reconstruction",
    "ReconstructionFailed",
    "Render",
    "Score",
    "ScoredClip",
    "Scorer",
    "Scores",
    "leave_one_out_scores",
    "mean_flow",
    "paper_scores",
    "render_leave_one_out",
    "render_splat",
    "score_reconstruction",
]

"""score: a critic reconstructs every clip, and the disagreement of frames and re-rendering is its score."""

from videogpa.stages.score.stage import run, score_clips

__all__ = ["run", "score_clips"]

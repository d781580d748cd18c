"""pair: the best and the worst candidate of a group become a preference pair."""

from videogpa.stages.pair.funnel import Funnel, funnel
from videogpa.stages.pair.pairing import choose_pairs
from videogpa.stages.pair.stage import run

__all__ = ["Funnel", "choose_pairs", "funnel", "run"]

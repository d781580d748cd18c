"""The work of scoring: critics, loaded once per worker, and one clip after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from videogpa.config import ScoreConfig
from videogpa.records import Prompt, Score
from videogpa.report.strips import make_strip, save_strip
from videogpa.stages.score.judge import Judge


@dataclass(frozen=True)
class Trial:
    """A clip, and the name of the critic that is to judge it."""

    critic: str
    video: Path
    clip: str
    prompt: Prompt | None = None


@dataclass(frozen=True)
class Judging:
    """See `videogpa.workers.Work`."""

    critics: tuple[ScoreConfig, ...]
    strips: Path | None = None
    """The folder for pictures of what the scores were computed from; without it none are made."""

    def load(self) -> Callable[[Trial], Score]:
        """Return what judges a clip. A critic is loaded at its first clip."""
        settings = {config.critic: config for config in self.critics}
        judge = cache(lambda critic: Judge(settings[critic]))

        def score(trial: Trial) -> Score:
            verdict = judge(trial.critic).judge(trial.video, clip=trial.clip, prompt=trial.prompt)
            if self.strips is not None and verdict.reconstruction is not None and verdict.rendered is not None:
                strip = make_strip(verdict.reconstruction, *verdict.rendered)
                save_strip(self.strips, verdict.score.critic, verdict.score.clip, strip)
            return verdict.score

        return score

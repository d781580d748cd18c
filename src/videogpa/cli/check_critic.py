"""`videogpa check-critic`: runs negative controls (noise, frozen, cut, rotation, zoom) through a critic."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from videogpa.config import ScoreConfig
from videogpa.records import Score
from videogpa.scoring.scorer import Scorer
from videogpa.workers import map_items
from videogpa.world import controls

_Job = tuple[str, str | None, int]  # the clip's name, its control if it is one, the scene's seed
SHOWN = ("loo_error", "loo_coverage", "single_image", "explained", "flow")


@dataclass(frozen=True)
class Finding:
    """The score of one clip, and whether it is right. `control` is None for a consistent clip."""

    control: str | None
    score: Score
    right: bool
    """A consistent clip is scored; a control is declined, or scores worse than every consistent clip."""

    @property
    def verdict(self) -> str:
        """In words."""
        if self.score.status != "ok":
            return f"declined ({self.score.status.replace('_', ' ')})"
        if self.control is None:
            return "scored"
        return "scored, and worse than every consistent clip" if self.right else "FOOLED: scored like a consistent clip"


def check_critic(config: ScoreConfig, seeds: int, world: str = "detailed") -> list[Finding]:
    """Score the consistent clips and the negative controls of some scenes, and say which scores are right.

    Args:
        config: The critic with its options, and how many frames of a clip it reconstructs.
        seeds: How many scenes.
        world: A key of `videogpa.world.controls.CLIP_STYLES`: size, length and style of the clips.
    """
    film = controls.CLIP_STYLES[world]
    too_many = config.frames != "all" and config.frames > film.frames
    scorer = Scorer.from_config(config.model_copy(update={"frames": film.frames}) if too_many else config)

    def score(job: _Job) -> Score:
        name, control, seed = job
        camera = name if control is None else controls.CONSISTENT[0]
        clip = controls.consistent(film, seed, camera) if control is None else controls.CONTROLS[control].make(film, seed)
        return scorer.score_clip(clip, clip=f"{name}/{seed}", prompt=controls.prompt_of(film, seed, camera)).score

    jobs = list(_jobs(seeds))
    scores = list(map_items(score, jobs, label="check-critic"))
    return _compare([(control, row) for (_, control, _), row in zip(jobs, scores, strict=True)])


def _jobs(seeds: int) -> Iterator[_Job]:
    for seed in range(seeds):
        for camera in controls.CONSISTENT:
            yield camera, None, seed
        for name in controls.CONTROLS:
            yield name, name, seed


def _compare(scores: list[tuple[str | None, Score]]) -> list[Finding]:
    sound = [row.loo_error for control, row in scores if control is None and row.loo_error is not None and row.status == "ok"]
    worst = max(sound, default=0.0)

    def right(control: str | None, row: Score) -> bool:
        if control is None or row.status != "ok":
            return (control is None) == (row.status == "ok")
        return row.loo_error is not None and bool(sound) and row.loo_error > worst

    return [Finding(control, row, right(control, row)) for control, row in scores]


def table(findings: list[Finding]) -> Table:
    """Return what the terminal shows: the consistent clips, then the controls, and what is wrong with each answer."""
    result = Table(
        title="negative controls: right is to decline, or to score worse than every consistent clip", title_justify="left"
    )
    for heading in ("clip", "truth", "answer", *SHOWN):
        result.add_column(heading, justify="right" if heading in SHOWN else "left", overflow="fold")
    for finding in sorted(findings, key=lambda finding: finding.control is not None):
        truth = controls.CONTROLS[finding.control].truth if finding.control else "one still scene, a moving camera"
        numbers = [getattr(finding.score, name) for name in SHOWN]
        shown = ["" if number is None else f"{number:.3f}" for number in numbers]
        style = None if finding.right else "bold red"
        result.add_row(finding.score.clip, truth, finding.verdict, *shown, style=style)
    return result

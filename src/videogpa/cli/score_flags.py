"""What the flags of `videogpa score` and `compare` ask for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from videogpa.defaults import FRAMES, Cuts, Overlays, Reading, Settings
from videogpa.errors import InvalidInput

if TYPE_CHECKING:
    from videogpa.config import ScoreConfig


def score_settings(
    *,
    critic: str,
    weights: str | None,
    options: Settings,
    paper: bool,
    frames: int | Literal["all"],
    window: int,
    overlap: int,
    anchors: int,
    lpips_net: Literal["alex", "vgg"],
    scene: Reading | None,
    overlays: Overlays,
    cuts: Cuts,
) -> "ScoreConfig":
    """Return the settings of scoring that the flags of a command ask for; see `commands.score_files`."""
    from videogpa.config import paper_protocol, parse_settings, score_config

    protocol: dict[str, Any] = {
        "critic": critic, "frames": frames, "lpips_net": lpips_net, "options": {}, "overlays": overlays, "cuts": cuts,
    }  # fmt: skip
    if paper:
        protocol = paper_protocol(critic)
        if frames != protocol["frames"] and frames != FRAMES:
            raise InvalidInput(f"the paper judges {protocol['frames']} frames: leave out --paper or --frames {frames}")
    protocol["options"] |= parse_settings(options) | ({"weights": weights} if weights else {})
    return score_config(**protocol, window=window, overlap=overlap, anchors=anchors, scene=scene)


def reading_of(scene: Reading | None, masks: str | Path | None) -> Reading | None:
    """Return the reading that masks imply, or the one asked for."""
    if masks is not None and scene == "static":
        raise InvalidInput("--masks say what moves, and with --scene static nothing may: leave one of them out")
    return "dynamic" if masks is not None else scene


def refuse_run_folders(paths: Sequence[str]) -> None:
    """Refuse run folders among the paths: a run's own critic and settings would silently be replaced by the flags."""
    for path in paths:
        if (Path(path) / "recipe.yaml").is_file():
            raise InvalidInput(
                f"{path} is a run folder, and `videogpa score` scores files. Score its candidates by its recipe with "
                f"`videogpa score-run {path}` (and `--set score.critic=NAME` for another critic), or its videos as files with "
                f"`videogpa score {Path(path) / 'clips'}`"
            )

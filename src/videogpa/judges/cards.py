"""What a user must know of each judge's weights: licence, size, memory, paper. Read without importing a judge."""

from collections.abc import Mapping

from videogpa.critics.cards import Card
from videogpa.measures import MEASURES, Measure
from videogpa.registry import JUDGES, load

_VBENCH = "arXiv 2311.17982 (VBench)"

CARDS: Mapping[str, tuple[Card, ...]] = {
    "videoreward": (
        Card(
            weights="KwaiVGI/VideoReward",
            licence="Apache-2.0 (model card; the code is MIT)",
            commercial=True,
            memory="about 5 GB of a GPU, 9 GB on a CPU (estimated)",
            paper="arXiv 2501.13918",
            parameters="2.29 billion (Qwen2-VL-2B, LoRA and head)",
            download="4.6 GB",
        ),
    ),
    "dino": (
        Card(
            weights="facebook/dino-vitb16",
            licence="Apache-2.0",
            commercial=True,
            memory="under 2 GB, any number of frames (estimated)",
            paper=f"arXiv 2104.14294; {_VBENCH}",
            parameters="86 million",
            download="0.34 GB",
        ),
    ),
    "clip": (
        Card(
            weights="openai/clip-vit-base-patch32",
            licence="MIT",
            commercial=True,
            memory="under 2 GB, any number of frames (estimated)",
            paper=f"arXiv 2103.00020; {_VBENCH}",
            parameters="88 million (151 with the part for texts)",
            download="0.61 GB",
        ),
    ),
    "aesthetic": (
        Card(
            weights="openai/clip-vit-large-patch14",
            licence="MIT, that of the head too",
            commercial=True,
            memory="under 3 GB, any number of frames (estimated)",
            paper=f"arXiv 2103.00020; https://github.com/LAION-AI/aesthetic-predictor; {_VBENCH}",
            parameters="304 million (428 with the part for texts)",
            download="1.71 GB",
        ),
    ),
}
"""By the judge's name; the weights that it is made for come first."""

GIVES: Mapping[str, tuple[str, ...]] = {
    "videoreward": ("vq", "mq", "ta", "ovl"),
    "dino": ("subject_consistency",),
    "clip": ("background_consistency",),
    "aesthetic": ("aesthetic_quality",),
}
"""The measures of each judge of this package; `videogpa.measures` describes them."""


def own_measures(judge: str) -> dict[str, Measure]:
    """Return the measures of a judge of this package."""
    return {name: MEASURES[name] for name in GIVES[judge]}


def cards_of(judge: str) -> tuple[Card, ...]:
    """Return what is known of a judge's weights. Only a judge of another package is imported for it.

    Raises:
        KeyError: If there is no such judge.
        UserError: If the judge comes from another package and cannot be imported.
    """
    found: tuple[Card, ...] = CARDS[judge] if judge in CARDS else load(JUDGES, judge).CARDS
    return found


def measures_of(judge: str) -> Mapping[str, Measure]:
    """Return the measures of a judge by name. Only a judge of another package is imported for it.

    Raises:
        KeyError: If there is no such judge.
        UserError: If the judge comes from another package and cannot be imported.
    """
    found: Mapping[str, Measure] = own_measures(judge) if judge in GIVES else load(JUDGES, judge).MEASURES
    return found

"""What the contract of the models is tested on. A new family adds its miniatures to CASES, and its hooks to families.py."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from families import COGVIDEOX, WAN, WAN_WITH_CLIP, Family
from torch import Tensor

from videogpa.models.base import GenerationRequest, Sampling
from videogpa.models.toys import cogvideox
from videogpa.registry import MODELS, load

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """An entry of the registry, its family, a miniature that it loads, and the size of the clips that the tests make."""

    entry: str
    family: Family
    pipeline: Callable[[], Any] | None = None
    """Builds the miniature; None: the one in the table of miniatures under the case's name."""
    height: int = 32
    width: int = 48
    tiled: tuple[int, int] = (64, 64)
    """Height and width of a clip that is larger than one of the VAE's tiles."""


CASES = {
    "cogvideox-t2v": Case("cogvideox-t2v", COGVIDEOX),
    "cogvideox-2b": Case("cogvideox-t2v", COGVIDEOX, partial(cogvideox.text_to_video, rotary=False)),
    "cogvideox-i2v": Case("cogvideox-i2v", COGVIDEOX),
    "cogvideox-5b-i2v": Case(
        "cogvideox-i2v",
        COGVIDEOX,
        partial(cogvideox.image_to_video, learned_positions=True, invert_scale_latents=True),
        height=64,
        width=64,
    ),
    "cogvideox1.5-t2v": Case("cogvideox-t2v", COGVIDEOX),
    "cogvideox1.5-i2v": Case("cogvideox-i2v", COGVIDEOX),
    "wan2.1-t2v": Case("wan-t2v", WAN, tiled=(272, 32)),
    "wan2.1-i2v": Case("wan-i2v", WAN_WITH_CLIP, tiled=(272, 32)),
    "wan2.2-ti2v": Case("wan-ti2v", WAN, width=64, tiled=(544, 32)),
    "wan2.2-t2v-a14b": Case("wan-t2v", WAN, tiled=(272, 32)),
    "wan2.2-i2v-a14b": Case("wan-i2v", WAN, tiled=(272, 32)),
}


@dataclass
class Subject:
    """A case on disk, the model under test, and, as its judge, the pipeline as a user of diffusers loads it."""

    case: Case
    folder: Path

    def load(self, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
        return load(MODELS, self.case.entry).load(self.folder, revision=None, device=CPU, dtype=dtype, **options)

    @cached_property
    def model(self) -> Any:
        return self.load()

    @cached_property
    def pipeline(self) -> Any:
        return self.judge(torch.float32)

    def judge(self, dtype: torch.dtype) -> Any:
        precise = dict.fromkeys(self.case.family.precise, torch.float32)
        pipeline = DiffusionPipeline.from_pretrained(self.folder, dtype={"default": dtype, **precise})
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def sampling(self, *, frames: int = 9, steps: int = 2, guidance: float = 6.0) -> Sampling:
        return Sampling(frames, self.case.height, self.case.width, steps, guidance)

    def request(self, seed: int = 0, text: str = "A quiet room; the camera orbits the objects.") -> GenerationRequest:
        generator = torch.Generator().manual_seed(100 + seed)
        image = torch.rand(3, self.case.height, self.case.width, generator=generator)
        return GenerationRequest(text, image if load(MODELS, self.case.entry).needs_image else None, seed)

    def condition(self, model: Any, *requests: GenerationRequest) -> dict[str, Tensor]:
        size = {"frames": 9, "height": self.case.height, "width": self.case.width}
        found = [model.encode_condition(request, **size) for request in requests]
        return {name: torch.stack([condition[name] for condition in found]) for name in found[0]}

    def run(self, request: GenerationRequest, sampling: Sampling, pipeline: Any = None) -> Tensor:
        pipeline = pipeline or self.pipeline
        frames: Tensor = pipeline(**self.case.family.arguments(pipeline, request, sampling), output_type="pt").frames[0]
        return frames


def transformers_of(pipeline: Any) -> list[torch.nn.Module]:
    """Its transformer, or both if it has one for high and one for low noise."""
    return [part for name, part in pipeline.components.items() if name.startswith("transformer") and part is not None]

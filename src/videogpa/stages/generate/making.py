"""The work of making clips: a model, loaded once per worker, and one order after the other."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from videogpa.config import ModelConfig
from videogpa.models.base import Sampling
from videogpa.models.loading import load_model
from videogpa.models.requests import request_for
from videogpa.records import Clip, Prompt
from videogpa.runs import RunFolder
from videogpa.tensors import save_tensors
from videogpa.video import write_video


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder, and how strongly it is put on: 1 is as it was trained."""

    path: Path
    scale: float = 1.0


@dataclass(frozen=True)
class Order:
    """A clip to be made: its row, whose files go into the folder `into`."""

    row: Clip
    prompt: Prompt
    seed: int
    into: Path
    adapter: Adapter | None


@dataclass(frozen=True)
class ClipMaking:
    """See `videogpa.workers.Work`. Base and aligned clips are made by one work: the adapter is the order's."""

    model: ModelConfig
    identity: str
    """Of the model: whose latents are kept."""
    sampling: Sampling
    fps: int
    images: Path
    """The folder that the prompts' images are relative to."""
    texts: tuple[str, ...]
    """Of all prompts, not only those left to do, so that base and aligned clips are the same work."""

    def load(self) -> Callable[[Order], Clip]:
        """Load the model, with the states of all texts and without its text encoder."""
        return _Maker(self)


class _Maker:
    def __init__(self, work: ClipMaking) -> None:
        self._work = work
        self._model = load_model(work.model, RunFolder(work.images))
        self._model.remember_texts(work.texts)
        self._worn: Adapter | None = None
        self._taking_off = ExitStack()

    def __call__(self, order: Order) -> Clip:
        self._wear(order.adapter)
        work, row = self._work, order.row
        [sample] = self._model.generate([request_for(order.prompt, order.seed, work.images)], work.sampling)
        write_video(order.into / row.path, sample.video, work.fps)
        if row.latents is not None:
            latents = {"latents": sample.latents.to(torch.bfloat16)}
            save_tensors(latents, order.into / row.latents, fingerprint=work.identity)
        return row

    def _wear(self, adapter: Adapter | None) -> None:
        if adapter == self._worn:
            return
        self._taking_off.close()
        self._worn = None
        if adapter is not None:
            from videogpa.models.adapters import adapted  # not before it is needed: imports peft

            self._taking_off.enter_context(adapted(self._model.transformer, adapter.path, scale=adapter.scale))
            self._worn = adapter

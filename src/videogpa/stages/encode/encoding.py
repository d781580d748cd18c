"""The work of encoding: the parts of a model that it takes, loaded once per worker, and one prompt after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from videogpa.config import GenerateConfig, ModelConfig
from videogpa.errors import UserError
from videogpa.models.base import VideoModel
from videogpa.models.loading import load_model
from videogpa.models.requests import request_for
from videogpa.records import Latents, Prompt
from videogpa.runs import RunFolder
from videogpa.tensors import save_tensors, saved_from
from videogpa.video import read_frames


@dataclass(frozen=True)
class Job:
    """A clip's row, and the video to encode into its file; None where its latents are there, kept when it was generated."""

    row: Latents
    video: Path | None


@dataclass(frozen=True)
class Group:
    """A prompt with some of its clips: they share what the transformer is shown of the prompt, which is encoded once."""

    prompt: Prompt
    condition: str
    """Fingerprint of what becomes of the prompt."""
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Encoding:
    """See `videogpa.workers.Work`."""

    model: ModelConfig
    folder: Path
    """The run's."""
    size: GenerateConfig
    texts: tuple[str, ...]

    def load(self) -> Callable[[Group], list[Latents]]:
        """Load VAE and text encoder, and keep of the latter what it says of the texts."""
        model = load_model(self.model, RunFolder(self.folder), parts=("text", "vae"))
        model.remember_texts(self.texts)
        return lambda group: self._encode(group, model)

    def _encode(self, group: Group, model: VideoModel) -> list[Latents]:
        self._encode_prompt(group, model)
        for job in group.jobs:
            if job.video is not None:
                latents = {"latents": model.encode_video(self._read(job.video))}
                save_tensors(latents, self.folder / job.row.path, fingerprint=job.row.fingerprint)
        return [job.row for job in group.jobs]

    def _encode_prompt(self, group: Group, model: VideoModel) -> None:
        """Encode the prompt, unless other clips of it were here before."""
        path = self.folder / group.jobs[0].row.condition
        if saved_from(path) != group.condition:
            size = self.size
            # With the first candidate's seed, the first frame's latents are those that it was made from.
            request = request_for(group.prompt, size.seed, self.folder)
            condition = model.encode_condition(request, frames=size.frames, height=size.height, width=size.width)
            save_tensors(condition, path, fingerprint=group.condition)

    def _read(self, path: Path) -> Float[Tensor, "frames 3 height width"]:
        video = read_frames(path)
        found, expected = (len(video), *video.shape[2:]), (self.size.frames, self.size.height, self.size.width)
        if found != expected:
            raise UserError(f"{path} is {found} (frames, height, width), where the recipe says {expected}")
        return video

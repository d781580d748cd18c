"""The contract of a video model: requests in, samples out; and the seam to training, `(prediction, target)`."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import interpolate

from videogpa.errors import InvalidInput

Part = Literal["text", "vae", "transformer"]
"""The parts of a model that can be loaded: training needs the transformer alone, encoding all but the transformer."""

PARTS: tuple[Part, ...] = ("text", "vae", "transformer")
TRAINED_PARTS: tuple[Part, ...] = ("transformer",)
"""What training loads: clips and texts are encoded before."""

Expert = Literal["both", "high", "low"]
"""Which transformer is trained, of a model with one for high and one for low noise; `both`: each at its timesteps."""


@dataclass(frozen=True, eq=False)
class GenerationRequest:
    """One clip to generate: its text, its first frame for image-to-video (RGB in [0, 1], any size), and its seed."""

    text: str
    image: Float[Tensor, "3 height width"] | None
    seed: int


@dataclass(frozen=True)
class Sampling:
    """How clips are sampled. `guidance_scale` = 1 turns classifier-free guidance off.

    Settings with a default are not for every model: see `VideoModel.sampling_settings`.
    """

    frames: int
    height: int
    width: int
    num_inference_steps: int
    guidance_scale: float
    negative_prompt: str = ""
    """What guidance leads away from."""
    guidance_scale_2: float | None = None
    """The guidance scale of the transformer for low noise; None for the same as that of the other."""
    flow_shift: float | None = None
    """The shift of the sampler's noise levels; None for that of the model's scheduler."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A generated clip and the latents it was decoded from, both on the CPU.

    The latents are the last of the sampler, in the dtype of the model and in the space of `VideoModel.encode_video`.
    """

    video: Float[Tensor, "frames 3 height width"]
    latents: Float[Tensor, "latent_frames channels h w"]


@dataclass(frozen=True)
class Memory:
    """How a model saves GPU memory, at a cost in time.

    `offload` moves each part to the GPU only while it works; results are the same. Without a GPU it has no effect. `tiling`
    runs the VAE on overlapping tiles and on one clip at a time; results differ slightly if a clip is larger than a tile.
    """

    offload: bool = False
    tiling: bool = False


PLENTY = Memory()


@dataclass(frozen=True)
class Published:
    """What a user should know of published weights before downloading them."""

    hub_id: str
    licence: str
    commercial: str
    """Whether the licence allows commercial use: yes, no, or under which condition."""
    parameters: str
    """The number of parameters of the transformer, or of each transformer."""
    memory: str
    """The memory of the weights of all parts in bfloat16, in GB (10^9 bytes)."""
    paper: str
    """The paper that describes the model."""


@dataclass(frozen=True)
class Activations:
    """What a forward pass through a transformer keeps for the backward pass."""

    of_a_layer: int = 17
    """Numbers per token, channel and layer, of the size that the network computes in: those of a whole layer, without its
    attention map. The default is Korthikanti et al. 2022, https://arxiv.org/abs/2205.05198, eq. 2, in numbers of two bytes."""
    of_a_token: int = 0
    """Bytes per token and channel beside the layers."""


@runtime_checkable
class VideoModel(Protocol):
    """A video diffusion model, loaded from a diffusers folder or hub id. The only place that knows its conventions.

    The trainer knows neither velocity nor flow, neither rotary embeddings nor image latents: it draws noise and timesteps,
    and compares `prediction` with `target`.
    """

    published: tuple[Published, ...]
    """The published weights that the class loads."""
    needs_image: bool
    """Whether a request must have a first frame."""
    lora_targets: tuple[str, ...]
    """Names of the linear layers that adapt, as PEFT matches them."""
    activations: Activations
    """What the transformer keeps in training, as measured; for the estimate of the memory."""
    transformer: Module
    """The network that is trained, if that part was loaded. Adapters are put into it in place."""

    @classmethod
    def check_size(cls, path: Path | str, *, revision: str | None, frames: int, height: int, width: int) -> None:
        """Check that the model at `path` can make clips of this size. Reads its configuration only.

        Raises:
            InvalidInput: If it cannot; the message names the nearest size that it can make.
        """
        ...

    @classmethod
    def sampling_settings(cls, path: Path | str, *, revision: str | None) -> Collection[str]:
        """Return which settings of `Sampling` that have a default the model at `path` takes. Reads its configuration only.

        A class without this method takes none.
        """
        ...

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        revision: str | None,
        device: torch.device,
        dtype: torch.dtype,
        parts: Collection[Part] = PARTS,
        memory: Memory = PLENTY,
        expert: Expert = "both",
    ) -> "VideoModel":
        """Load the named parts of the model at `path`, their weights frozen.

        Raises:
            UserError: If there is no such model, it is of another kind, or an expert is chosen and it has but one transformer.
        """
        ...

    def cache_text_embeddings(self, texts: Iterable[str]) -> None:
        """Encode these texts (that of guidance among them) and the empty one, keep the embeddings, and free the text encoder.

        Results do not change. Other texts raise a `UserError` afterwards.
        """
        ...

    def enable_gradient_checkpointing(self) -> None:
        """Let `transformer` recompute its activations in the backward pass instead of keeping them. Gradients do not change."""
        ...

    def generate(self, requests: Iterable[GenerationRequest], sampling: Sampling) -> Iterator[Sample]:
        """Generate one clip per request, in order. A clip depends on its own request only, not on the others."""
        ...

    def encode_video(self, video: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "latent_frames channels h w"]:
        """Return the latents of a clip (RGB in [0, 1]) in the space of the transformer. Deterministic.

        They include the latent frames that a model pads a clip with.
        """
        ...

    def decode_latents(self, latents: Float[Tensor, "latent_frames channels h w"]) -> Float[Tensor, "frames 3 height width"]:
        """Decode latents to a clip, RGB in [0, 1]: the inverse of `encode_video`, and the last step of `generate`."""
        ...

    def encode_condition(self, request: GenerationRequest, *, frames: int, height: int, width: int) -> dict[str, Tensor]:
        """Return the inputs of the transformer that depend on a request, by name and without a batch axis.

        They hold for clips of this size, since some models pad the first frame to the length of the clip before encoding it.
        They equal what `generate` passes to the transformer for the same request.
        """
        ...

    def timesteps_at(self, quantiles: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Return the training timesteps at quantiles in [0, 1) of the model's own, uniform range, from clean to noise."""
        ...

    def prediction_and_target(
        self,
        latents: Float[Tensor, "batch latent_frames channels h w"],
        noise: Float[Tensor, "batch latent_frames channels h w"],
        timesteps: Int[Tensor, " batch"],
        conditions: Mapping[str, Tensor],
    ) -> tuple[Float[Tensor, "batch latent_frames channels h w"], Float[Tensor, "batch latent_frames channels h w"]]:
        """Return the transformer's prediction for the noised latents, and what it should have been, in one space.

        `conditions` are those of `encode_condition`, stacked along a new first axis, in the transformer's dtype or
        another. The target is float32.
        """
        ...

    def clean_from_prediction(
        self,
        prediction: Float[Tensor, "batch latent_frames channels h w"],
        latents: Float[Tensor, "batch latent_frames channels h w"],
        noise: Float[Tensor, "batch latent_frames channels h w"],
        timesteps: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch latent_frames channels h w"]:
        """Return the clean latents that a prediction implies. Float32, differentiable.

        The arguments are those of `prediction_and_target`, and the prediction that it returned. For `prediction = target` the
        result is `latents`, up to rounding; penalties on the predicted clip are computed from it.
        """
        ...


def first_frame(request: GenerationRequest, *, height: int, width: int) -> Float[Tensor, "3 height width"]:
    """Return the request's first frame, fitted.

    Raises:
        InvalidInput: If it has none.
    """
    if request.image is None:
        raise InvalidInput(f"an image-to-video model needs a first frame, and the prompt {request.text!r} has none")
    return fit_image(request.image, height=height, width=width)


def fit_image(image: Float[Tensor, "3 height width"], *, height: int, width: int) -> Float[Tensor, "3 new_height new_width"]:
    """Return the image scaled to cover height x width and cropped around its centre; unchanged if it has that size."""
    if image.shape[1:] == (height, width):
        return image
    scale = max(height / image.shape[1], width / image.shape[2])
    covering = (max(height, round(image.shape[1] * scale)), max(width, round(image.shape[2] * scale)))
    scaled = interpolate(image[None], size=covering, mode="bicubic", antialias=True)[0].clamp(0, 1)
    top, left = (covering[0] - height) // 2, (covering[1] - width) // 2
    return scaled[:, top : top + height, left : left + width]

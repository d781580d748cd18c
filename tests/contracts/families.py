"""What the contract of the models must know of a family: how a user calls its pipeline, and how its transformer is called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import CogVideoXDPMScheduler
from jaxtyping import Float
from torch import Tensor

from videogpa.models.base import GenerationRequest, Sampling


@dataclass(frozen=True)
class Family:
    """The hooks of a family."""

    arguments: Callable[[Any, GenerationRequest, Sampling], dict[str, Any]]
    """What a user of diffusers calls this pipeline with for the request, but for `output_type`."""
    noisy: Callable[[Any, Mapping[str, Any]], Float[Tensor, "batch frames channels h w"]]
    """The noisy latents among the arguments that the transformer was called with."""
    timesteps: Callable[[Mapping[str, Any]], Tensor]
    """The timesteps among them, one per item of the batch."""
    implied: Callable[[Any, Tensor, Tensor, Tensor], Tensor]
    """The clean latents that the pipeline's own scheduler sees in (predictions, timesteps, noisy latents)."""
    forgettable: tuple[str, ...] = ()
    """Arguments without which the transformer runs all the same, to its harm."""


def _cogvideox_arguments(pipeline: Any, request: GenerationRequest, sampling: Sampling) -> dict[str, Any]:
    return {
        **({} if request.image is None else {"image": request.image[None]}),
        "prompt": request.text,
        "height": sampling.height,
        "width": sampling.width,
        "num_frames": sampling.frames,
        "num_inference_steps": sampling.steps,
        "guidance_scale": sampling.guidance,
        "generator": torch.Generator().manual_seed(request.seed),
        "max_sequence_length": pipeline.transformer.config.max_text_seq_length,
    }


def _cogvideox_implied(pipeline: Any, prediction: Tensor, timesteps: Tensor, noisy: Tensor) -> Tensor:
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(scheduler.config.num_train_timesteps)

    def clean(item: int) -> Tensor:
        if isinstance(scheduler, CogVideoXDPMScheduler):
            implied: Tensor = scheduler.step(
                prediction[item], None, timesteps[item], None, noisy[item], return_dict=False, generator=torch.Generator()
            )[1]
        else:
            implied = scheduler.step(prediction[item], timesteps[item], noisy[item]).pred_original_sample
        return implied

    return torch.stack([clean(item) for item in range(len(timesteps))])


COGVIDEOX = Family(
    arguments=_cogvideox_arguments,
    noisy=lambda pipeline, shown: shown["hidden_states"][:, :, : pipeline.vae.config.latent_channels],
    timesteps=lambda shown: shown["timestep"],
    implied=_cogvideox_implied,
    forgettable=("image_rotary_emb",),  # which the published trainer forgets
)

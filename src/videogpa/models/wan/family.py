"""The code that the members of the Wan family share. They differ in how the transformer receives a first frame.

The transformer predicts the flow, noise minus clean, over VAE latents that are normalised channel by channel. In training
it must receive exactly the inputs that the pipeline gives it: the contract tests record both and compare them.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline, WanPipeline
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module

from videogpa.maths.diffusion import add_noise, flow_target, from_flow, straight_path
from videogpa.models.base import (
    PARTS,
    PLENTY,
    Activations,
    Expert,
    GenerationRequest,
    Memory,
    Part,
    Published,
    Sample,
    Sampling,
)
from videogpa.models.folders import check_weights, in_sentences
from videogpa.models.pipelines import Components, Texts, check_finite, drop, load_pipeline, place, sampling_arguments
from videogpa.models.wan.configuration import FAMILY, Configuration, Kind, read_configuration
from videogpa.models.wan.experts import COMPONENTS as EXPERTS
from videogpa.models.wan.experts import Experts
from videogpa.models.wan.schedule import FlowSchedule, timestep_in, with_shift

Latents = Float[Tensor, "batch latent_frames channels h w"]

TEXT_TOKENS = 512  # Wan was trained with it; the attention of diffusers' image-to-video transformers depends on it


def publication(name: str, *, parameters: str, memory: str) -> Published:
    """Describe published weights of the family.

    Args:
        name: The name on the hub, without organisation and suffix.
        parameters: The number of parameters, for people to read.
        memory: The memory that the weights need, with the encoders of pixels in float32; see `Wan.load`.
    """
    return Published(
        hub_id=f"Wan-AI/{name}-Diffusers",
        licence="Apache-2.0",
        commercial="yes",
        parameters=parameters,
        memory=memory,
        paper="https://arxiv.org/abs/2503.20314",
    )


class Wan(ABC):
    """A member of the family. Its latents are [latent_frames channels h w], whereas diffusers has the channels first."""

    published: ClassVar[tuple[Published, ...]]
    needs_image: ClassVar[bool]
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0")  # the paper's for CogVideoX, here in self and cross attention
    activations: ClassVar[Activations] = Activations(of_a_layer=24)  # its norms work in float32
    kind: ClassVar[Kind]
    pipeline_class: ClassVar[type[DiffusionPipeline]]
    image_components: ClassVar[tuple[str, ...]] = ()
    """The components of the pipeline that encode first frames, beside the VAE."""

    def __init__(
        self,
        pipeline: Any,
        configuration: Configuration,
        *,
        expert: Expert,
        device: torch.device,
        dtype: torch.dtype,
        memory: Memory,
    ) -> None:
        """Create the model from a pipeline, whose components may be None, and the experts to train if there are two."""
        self._pipeline = pipeline
        self._device = device
        self._dtype = dtype
        self._memory = memory
        self._sizes = configuration.sizes
        self._texts = Texts(self._encode_text, device, tokenizer=pipeline.tokenizer, tokens=TEXT_TOKENS)
        with in_sentences(configuration.origin, "scheduler"):
            self._schedule = FlowSchedule(pipeline.scheduler, origin=configuration.origin)
        self._scheduler = pipeline.scheduler
        self._timesteps = self._schedule.timesteps
        self._networks: list[Any] = [pipeline.transformer]
        self.transformer: Module = pipeline.transformer
        if configuration.two_experts:
            self._train_experts(expert, configuration.index["boundary_ratio"] * self._schedule.count)
        place(pipeline, device, memory)

    def _train_experts(self, expert: Expert, boundary: float) -> None:
        low, high = self._schedule.split(boundary)
        self._timesteps = {"low": low, "high": high, "both": self._timesteps}[expert]
        trained = {name: getattr(self._pipeline, EXPERTS[name]) for name in EXPERTS if expert in ("both", name)}
        self._networks = list(trained.values())
        if all(network is not None for network in self._networks):
            self.transformer = Experts(trained, boundary=boundary)

    @classmethod
    def check_size(cls, path: Path | str, *, revision: str | None, frames: int, height: int, width: int) -> None:
        configuration = read_configuration(path, revision)
        configuration.check_kind(cls.kind)
        configuration.sizes.check(frames=frames, height=height, width=width)
        check_weights(path, FAMILY)

    @classmethod
    def sampling_settings(cls, path: Path | str, *, revision: str | None) -> Collection[str]:
        second = ("guidance_scale_2",) if read_configuration(path, revision).two_experts else ()
        return ("negative_prompt", "flow_shift", *second)

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
    ) -> "Wan":
        """Load the model; VAE and image encoder are float32 whatever the dtype, as in the authors' code and diffusers."""
        configuration = read_configuration(path, revision)
        configuration.check_kind(cls.kind, expert)
        components: Components = {
            "text": ("tokenizer", "text_encoder"),
            "vae": ("vae", *cls.image_components),
            "transformer": tuple(EXPERTS.values()),
        }
        pipeline = load_pipeline(
            cls.pipeline_class,
            path,
            family=FAMILY,
            revision=revision,
            dtype={"default": dtype, "vae": torch.float32, "image_encoder": torch.float32},
            components=components,
            parts=parts,
            # An expert that is not trained is needed to generate clips, which also needs the VAE, but not to train the other.
            without=[component for name, component in EXPERTS.items() if expert not in ("both", name) and "vae" not in parts],
        )
        return cls(pipeline, configuration, expert=expert, device=device, dtype=dtype, memory=memory)

    def cache_text_embeddings(self, texts: Iterable[str]) -> None:
        self._texts.remember(texts)
        drop(self._pipeline, ("text_encoder", "tokenizer"), self._device, self._memory)

    def enable_gradient_checkpointing(self) -> None:
        for network in self._networks:
            network.enable_gradient_checkpointing()

    def generate(self, requests: Iterable[GenerationRequest], sampling: Sampling) -> Iterator[Sample]:
        self._sizes.check(frames=sampling.frames, height=sampling.height, width=sampling.width)
        for request in requests:
            yield self._generate_one(request, sampling)

    def _generate_one(self, request: GenerationRequest, sampling: Sampling) -> Sample:
        self._pipeline.scheduler = with_shift(self._scheduler, sampling.flow_shift)
        found = self._sample(request, **sampling_arguments(request, sampling, self._texts))
        latents = found[0].transpose(0, 1)
        sample = Sample(self.decode_latents(latents), latents.cpu())
        check_finite(sample, request, self._dtype)
        return sample

    @abstractmethod
    def _sample(self, request: GenerationRequest, **arguments: Any) -> Float[Tensor, "1 channels latent_frames h w"]:
        """Call the pipeline, with a first frame if there is one."""

    @torch.no_grad()
    def encode_video(self, video: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "latent_frames channels h w"]:
        """Return the normalised mean of the VAE's posterior."""
        self._sizes.check(frames=len(video), height=video.shape[2], width=video.shape[3])
        vae = self._pipeline.vae
        mean = vae.encode((2 * video - 1).transpose(0, 1)[None].to(self._device, vae.dtype)).latent_dist.mode()
        centre, inverse_spread = self._statistics(mean)
        latents: Tensor = ((mean - centre) * inverse_spread)[0].transpose(0, 1).contiguous()
        return latents

    @torch.no_grad()
    def decode_latents(self, latents: Float[Tensor, "latent_frames channels h w"]) -> Float[Tensor, "frames 3 height width"]:
        vae = self._pipeline.vae
        normalised = latents.transpose(0, 1)[None].to(self._device, vae.dtype)
        centre, inverse_spread = self._statistics(normalised)
        frames = vae.decode(normalised / inverse_spread + centre, return_dict=False)[0]
        video: Tensor = self._pipeline.video_processor.postprocess_video(frames, output_type="pt")[0].float().cpu()
        return video

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of each channel and the inverse of its standard deviation, computed as the pipeline computes them."""
        config = self._pipeline.vae.config
        mean, std = (like.new_tensor(values).reshape(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std))
        return mean, 1.0 / std

    @torch.no_grad()
    def encode_condition(self, request: GenerationRequest, *, frames: int, height: int, width: int) -> dict[str, Tensor]:
        """Return `text` [tokens features], and the tensors of the first frame if any; see `VideoModel.encode_condition`."""
        return {"text": self._texts(request.text), **self._encode_first_frame(request, frames, height, width)}

    @abstractmethod
    def _encode_first_frame(self, request: GenerationRequest, frames: int, height: int, width: int) -> dict[str, Tensor]:
        """Return the part of the condition that comes from the first frame."""

    def _encode_text(self, text: str) -> Tensor:
        """Encode a text with the text-to-video pipeline, as the image-to-video pipeline cannot without the ftfy package.

        Where ftfy is installed, diffusers mends a text's broken characters and curly quotes with it, as Wan's authors do.
        """
        states, _ = self._text_to_video_pipeline().encode_prompt(
            text, do_classifier_free_guidance=False, max_sequence_length=TEXT_TOKENS, device=self._device
        )
        found: Tensor = states[0].to(self._dtype)
        return found

    def _text_to_video_pipeline(self) -> WanPipeline:
        """Return a text-to-video pipeline with the same components."""
        names = ("tokenizer", "text_encoder", "vae", "scheduler", *EXPERTS.values())
        config = self._pipeline.config
        pipeline = WanPipeline(
            **{name: getattr(self._pipeline, name) for name in names},
            boundary_ratio=config.boundary_ratio,
            expand_timesteps=config.expand_timesteps,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def timesteps_at(self, quantiles: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Return the timesteps at quantiles of the trained range, which is one expert's if only one of two is trained."""
        return timestep_in(self._timesteps, quantiles)

    def prediction_and_target(
        self, latents: Latents, noise: Latents, timesteps: Int[Tensor, " batch"], conditions: Mapping[str, Tensor]
    ) -> tuple[Latents, Latents]:
        """Return prediction and target in the space of the flow, noise minus clean."""
        clean, noise = latents.float(), noise.float()
        noisy = self._noised(clean, noise, timesteps)
        target = flow_target(clean, noise)
        prediction = self.transformer(**self.transformer_inputs(noisy, timesteps, conditions))[0].transpose(1, 2)
        return self._without_given(prediction, target, conditions), target

    def _without_given(self, prediction: Latents, target: Latents, conditions: Mapping[str, Tensor]) -> Latents:
        """Return the prediction, with zero error wherever the transformer received the clean latents."""
        return prediction

    def clean_from_prediction(
        self, prediction: Latents, latents: Latents, noise: Latents, timesteps: Int[Tensor, " batch"]
    ) -> Latents:
        noisy = self._noised(latents.float(), noise.float(), timesteps)
        clean, _ = from_flow(noisy, prediction.float(), sigma=self._schedule.sigma_at(timesteps))
        return clean

    def _noised(self, clean: Latents, noise: Latents, timesteps: Int[Tensor, " batch"]) -> Latents:
        alpha, sigma = straight_path(self._schedule.sigma_at(timesteps))
        return add_noise(clean, noise, alpha=alpha, sigma=sigma)

    @abstractmethod
    def transformer_inputs(
        self, noisy: Latents, timesteps: Int[Tensor, " batch"], conditions: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Return all arguments of the transformer, identical to those of the pipeline's call."""

    def _inputs(self, hidden: Latents, timesteps: Tensor, conditions: Mapping[str, Tensor], **more: Any) -> dict[str, Any]:
        return {
            "hidden_states": hidden.transpose(1, 2).to(self._dtype).contiguous(),
            "timestep": timesteps,
            "encoder_hidden_states": conditions["text"].to(self._dtype),
            "attention_kwargs": None,
            "return_dict": False,
            **more,
        }

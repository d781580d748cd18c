"""CogVideoX and CogVideoX1.5, text-to-video and image-to-video, through diffusers' own pipelines.

Yang et al. 2024, "CogVideoX: Text-to-Video Diffusion Models with An Expert Transformer", https://arxiv.org/abs/2408.06072.

The transformer is a v-prediction denoiser over scaled VAE latents [batch frames channels height width]. In training it must
be shown exactly what the pipelines show it: the contract test records the one and compares it with the other.

- Image-to-video: the latents of the first frame, followed by zeros over time, stand beside the noisy ones on the channel axis.
- CogVideoX1.5 takes latent frames two by two, and a clip has an odd number of them: one more is put before them, which is
  noise in sampling, and dropped before decoding. Here it is part of the latents. For a clip that is encoded it is a copy of
  the first, as in the authors' fine-tuning code (zai-org/CogVideo, finetune/). The first frame's latents stand beside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import (
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    DiffusionPipeline,
)
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module

from videogpa.errors import InvalidInput
from videogpa.maths.diffusion import add_noise, from_velocity, variance_preserving, velocity_target
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
    first_frame,
)
from videogpa.models.folders import Family, check_folder, check_weights, local_folder, read_config
from videogpa.models.pipelines import Components, Texts, check_finite, drop, load_pipeline, place, sampling_arguments
from videogpa.models.sizes import SizeRule

_COMPONENTS: Components = {
    "text": ("tokenizer", "text_encoder"),
    "vae": ("vae",),
    "transformer": ("transformer",),
}
_FAMILY = Family(
    "CogVideoX",
    "zai-org/CogVideoX-5b-I2V",
    {
        "tokenizer": ("transformers", "*Tokenizer*"),
        "text_encoder": ("transformers", "T5EncoderModel"),
        "vae": ("diffusers", "AutoencoderKLCogVideoX"),
        "transformer": ("diffusers", "CogVideoXTransformer3DModel"),
        "scheduler": ("diffusers", "*Scheduler*"),
    },
)
_LARGEST_TABLE = 2**28  # numbers in a transformer's table of positions, five times those of CogVideoX-5B-I2V
_OFS = 2.0  # what the image-to-video pipeline puts in where the transformer has an ofs embedding


def _published(hub_id: str, *, parameters: str = "5.6 B", memory: str = "21 GB", free: bool = False) -> Published:
    return Published(
        hub_id=f"zai-org/{hub_id}",
        licence="Apache-2.0" if free else "CogVideoX licence",
        commercial="yes" if free else "after registration",
        parameters=parameters,
        memory=memory,
        paper="https://arxiv.org/abs/2408.06072",
    )


class _CogVideoX(ABC):
    """What the two kinds share: all but the pipeline, and what is shown of a first frame."""

    published: ClassVar[tuple[Published, ...]]
    needs_image: ClassVar[bool]
    lora_targets: ClassVar[tuple[str, ...]] = ("to_q", "to_k", "to_v", "to_out.0")  # the paper's
    activations: ClassVar[Activations] = Activations(of_a_layer=15)
    _pipeline_class: ClassVar[type[DiffusionPipeline]]

    def __init__(
        self, pipeline: Any, *, sizes: SizeRule, text_tokens: int, padding: int, device: torch.device, memory: Memory
    ) -> None:
        """Take a pipeline, of which components may be None.

        `text_tokens` is how many the transformer is shown, `padding` how many latent frames stand before those of a clip.
        """
        self._pipeline = pipeline
        self._sizes = sizes
        self._text_tokens = text_tokens
        self._padding = padding
        self._device = device
        self._memory = memory
        self._texts = Texts(self._encode_text, device, tokenizer=pipeline.tokenizer, tokens=text_tokens)
        self.transformer: Module = pipeline.transformer
        self._dtype: torch.dtype = getattr(pipeline.transformer, "dtype", pipeline.dtype)  # before adapters bring their own
        place(pipeline, device, memory)

    @classmethod
    def check_size(cls, path: Path | str, *, revision: str | None, frames: int, height: int, width: int) -> None:
        transformer, vae = _configurations(path, revision, images=cls.needs_image)
        _size_rule(transformer, vae).check(frames=frames, height=height, width=width)
        check_weights(path, _FAMILY)

    @classmethod
    def sampling_settings(cls, path: Path | str, *, revision: str | None) -> Collection[str]:
        return ("negative_prompt",)

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
    ) -> "_CogVideoX":
        if expert != "both":
            raise InvalidInput(f"CogVideoX has one transformer, and so no {expert}-noise expert; leave model.expert at both")
        transformer, vae = _configurations(path, revision, images=cls.needs_image)
        pipeline = load_pipeline(
            *(cls._pipeline_class, path), family=_FAMILY, revision=revision, dtype=dtype, components=_COMPONENTS, parts=parts
        )
        predicted = pipeline.scheduler.config.get("prediction_type")
        if predicted != "v_prediction" or not hasattr(pipeline.scheduler, "alphas_cumprod"):
            raise InvalidInput(f"{path}: its scheduler predicts {predicted}, not v_prediction")
        return cls(
            pipeline,
            sizes=_size_rule(transformer, vae),
            text_tokens=transformer["max_text_seq_length"],
            padding=(transformer.get("patch_size_t") or 1) - 1,
            device=device,
            memory=memory,
        )

    def cache_text_embeddings(self, texts: Iterable[str]) -> None:
        self._texts.remember(texts)
        drop(self._pipeline, _COMPONENTS["text"], self._device, self._memory)

    def enable_gradient_checkpointing(self) -> None:
        self._pipeline.transformer.enable_gradient_checkpointing()

    def generate(self, requests: Iterable[GenerationRequest], sampling: Sampling) -> Iterator[Sample]:
        self._sizes.check(frames=sampling.frames, height=sampling.height, width=sampling.width)
        for request in requests:
            yield self._generate_one(request, sampling)

    def _generate_one(self, request: GenerationRequest, sampling: Sampling) -> Sample:
        output = self._pipeline(
            **self._first_frame_arguments(request, sampling),
            **sampling_arguments(request, sampling, self._texts),
        )
        latents: Tensor = output.frames[0]
        sample = Sample(self.decode_latents(latents), latents.cpu())
        check_finite(sample, request, self._pipeline.dtype)
        return sample

    @torch.no_grad()
    def encode_video(self, video: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "latent_frames channels h w"]:
        """Return the mean of the VAE's posterior, scaled as the transformer knows it."""
        self._sizes.check(frames=len(video), height=video.shape[2], width=video.shape[3])
        mean = self._pipeline.vae.encode(self._to_vae(video)).latent_dist.mode()
        latents = (self._scale * mean)[0].transpose(0, 1)
        return torch.cat([*[latents[:1]] * self._padding, latents])

    @torch.no_grad()
    def decode_latents(self, latents: Float[Tensor, "latent_frames channels h w"]) -> Float[Tensor, "frames 3 height width"]:
        kept = latents[None, self._padding :].to(self._device, self._pipeline.vae.dtype)
        frames = self._pipeline.decode_latents(kept)
        video: Tensor = self._pipeline.video_processor.postprocess_video(video=frames, output_type="pt")[0].float().cpu()
        self._pipeline.maybe_free_model_hooks()
        return video

    @torch.no_grad()
    def encode_condition(self, request: GenerationRequest, *, frames: int, height: int, width: int) -> dict[str, Tensor]:
        """Return the condition by name.

        The names are `text` [tokens features] and, for image-to-video, `image` [1 channels h w], the first frame's latents.
        """
        return {"text": self._texts(request.text), **self._encode_first_frame(request, height, width)}

    def timesteps_at(self, quantiles: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        count: int = self._pipeline.scheduler.config.num_train_timesteps
        return (quantiles * count).long()

    def prediction_and_target(
        self,
        latents: Float[Tensor, "batch latent_frames channels h w"],
        noise: Float[Tensor, "batch latent_frames channels h w"],
        timesteps: Int[Tensor, " batch"],
        conditions: Mapping[str, Tensor],
    ) -> tuple[Float[Tensor, "batch latent_frames channels h w"], Float[Tensor, "batch latent_frames channels h w"]]:
        """Return prediction and target in the space of the velocity v."""
        clean, noise = latents.float(), noise.float()
        alpha, sigma = self._mix(timesteps)
        noisy = add_noise(clean, noise, alpha=alpha, sigma=sigma)
        prediction = self.transformer(**self.transformer_inputs(noisy, timesteps, conditions))[0]
        return prediction, velocity_target(clean, noise, alpha=alpha, sigma=sigma)

    def clean_from_prediction(
        self,
        prediction: Float[Tensor, "batch latent_frames channels h w"],
        latents: Float[Tensor, "batch latent_frames channels h w"],
        noise: Float[Tensor, "batch latent_frames channels h w"],
        timesteps: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch latent_frames channels h w"]:
        alpha, sigma = self._mix(timesteps)
        noisy = add_noise(latents.float(), noise.float(), alpha=alpha, sigma=sigma)
        clean, _ = from_velocity(noisy, prediction.float(), alpha=alpha, sigma=sigma)
        return clean

    def transformer_inputs(
        self,
        noisy: Float[Tensor, "batch latent_frames channels h w"],
        timesteps: Int[Tensor, " batch"],
        conditions: Mapping[str, Tensor],
    ) -> dict[str, Any]:
        """Return every argument of the transformer: those that the pipeline calls it with."""
        config = self._pipeline.transformer.config
        device = noisy.device
        frames, _, h, w = noisy.shape[1:]
        scale = self._pipeline.vae_scale_factor_spatial
        rotary = None
        if config.use_rotary_positional_embeddings:
            rotary = self._pipeline._prepare_rotary_positional_embeddings(h * scale, w * scale, frames, device)
        return {
            "encoder_hidden_states": conditions["text"].to(self._dtype),
            "timestep": timesteps,
            "image_rotary_emb": rotary,
            "attention_kwargs": None,
            "return_dict": False,
            **self._noisy_inputs(noisy, conditions, self._dtype),
        }

    @abstractmethod
    def _first_frame_arguments(self, request: GenerationRequest, sampling: Sampling) -> dict[str, Tensor]:
        """Return the pipeline's arguments for the first frame."""

    @abstractmethod
    def _encode_first_frame(self, request: GenerationRequest, height: int, width: int) -> dict[str, Tensor]:
        """Return the condition that training stores of the first frame."""

    @abstractmethod
    def _noisy_inputs(
        self, noisy: Float[Tensor, "batch frames channels h w"], conditions: Mapping[str, Tensor], dtype: torch.dtype
    ) -> dict[str, Any]:
        """Return the transformer's arguments that depend on the noisy latents and the first frame."""

    @property
    def _scale(self) -> float:
        return float(self._pipeline.vae.config.scaling_factor)

    def _mix(self, timesteps: Int[Tensor, " batch"]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        return variance_preserving(self._pipeline.scheduler.alphas_cumprod[timesteps.cpu()])

    def _to_vae(self, frames: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "1 3 frames height width"]:
        """RGB in [0, 1] to the VAE's [-1, 1], layout, device and dtype."""
        return (2 * frames - 1).transpose(0, 1)[None].to(self._device, self._pipeline.vae.dtype)

    def _encode_text(self, text: str) -> Float[Tensor, "tokens features"]:
        states, _ = self._pipeline.encode_prompt(
            text, do_classifier_free_guidance=False, max_sequence_length=self._text_tokens, device=self._device
        )
        encoded: Tensor = states[0]
        return encoded


class CogVideoXTextToVideo(_CogVideoX):
    """CogVideoX-2B (sines for positions, another schedule) and 5B (rotary positions), and CogVideoX1.5-5B."""

    published = (
        _published("CogVideoX-2b", parameters="1.7 B", memory="13 GB", free=True),
        _published("CogVideoX-5b"),
        _published("CogVideoX1.5-5B"),
    )
    needs_image = False
    _pipeline_class = CogVideoXPipeline

    def _first_frame_arguments(self, request: GenerationRequest, sampling: Sampling) -> dict[str, Tensor]:
        return {}

    def _encode_first_frame(self, request: GenerationRequest, height: int, width: int) -> dict[str, Tensor]:
        return {}

    def _noisy_inputs(
        self, noisy: Float[Tensor, "batch frames channels h w"], conditions: Mapping[str, Tensor], dtype: torch.dtype
    ) -> dict[str, Any]:
        return {"hidden_states": noisy.to(dtype)}


class CogVideoXImageToVideo(_CogVideoX):
    """CogVideoX-5B-I2V, CogVideoX1.5-5B-I2V, and small models of the class."""

    published = (_published("CogVideoX-5b-I2V"), _published("CogVideoX1.5-5B-I2V"))
    needs_image = True
    _pipeline_class = CogVideoXImageToVideoPipeline

    def _first_frame_arguments(self, request: GenerationRequest, sampling: Sampling) -> dict[str, Tensor]:
        return {"image": first_frame(request, height=sampling.height, width=sampling.width)[None]}

    def _encode_first_frame(self, request: GenerationRequest, height: int, width: int) -> dict[str, Tensor]:
        """Draw from the VAE's posterior with the request's seed, as the pipeline does."""
        vae = self._pipeline.vae
        posterior = vae.encode(self._to_vae(first_frame(request, height=height, width=width)[None])).latent_dist
        drawn = posterior.sample(torch.Generator().manual_seed(request.seed))
        # The released weights of some image-to-video models were trained with the first frame's latents divided by the
        # factor; diffusers keeps note of it in the VAE's configuration.
        image = 1 / self._scale * drawn if vae.config.invert_scale_latents else self._scale * drawn
        return {"image": image[0].transpose(0, 1).contiguous()}

    def _noisy_inputs(
        self, noisy: Float[Tensor, "batch frames channels h w"], conditions: Mapping[str, Tensor], dtype: torch.dtype
    ) -> dict[str, Any]:
        image = torch.zeros_like(noisy)
        image[:, :1] = conditions["image"]
        has_ofs = self._pipeline.transformer.config.ofs_embed_dim is not None
        return {
            "hidden_states": torch.cat([noisy, image], dim=2).to(dtype),
            "ofs": torch.full((1,), _OFS, dtype=dtype, device=noisy.device) if has_ofs else None,
        }


def _configurations(path: Path | str, revision: str | None, *, images: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configurations of the transformer and of the VAE, without loading either.

    Raises:
        InvalidInput: If there are none, or they are of another kind of model.
    """
    folder = local_folder(path, _FAMILY, revision=revision)
    classes = check_folder(folder, _FAMILY)
    transformer, vae = (read_config(folder, name, classes[name]) for name in ("transformer", "vae"))
    _check_table(folder, transformer)
    takes_images = transformer["in_channels"] == 2 * vae["latent_channels"]
    if images and not takes_images:
        raise InvalidInput(
            f"{path} is no image-to-video model: its transformer takes no image latents beside the noisy ones. "
            "For a text-to-video model set model.name to cogvideox-t2v."
        )
    if takes_images and not images:
        raise InvalidInput(
            f"{path} is no text-to-video model: its transformer takes image latents beside the noisy ones. "
            "For an image-to-video model set model.name to cogvideox-i2v."
        )
    if transformer.get("patch_size_t") not in (None, 2):
        raise InvalidInput(f"{path}: its patches are {transformer['patch_size_t']} latent frames long; 1 or 2 are supported")
    return transformer, vae


def _check_table(folder: Path, transformer: Mapping[str, Any]) -> None:
    """Check that the table of positions, which is made before the weights are read, takes no more memory than there may be.

    Raises:
        InvalidInput: If it does.
    """
    if transformer["use_rotary_positional_embeddings"] and not transformer["use_learned_positional_embeddings"]:
        return
    area = transformer["sample_height"] * transformer["sample_width"] // transformer["patch_size"] ** 2
    frames = (transformer["sample_frames"] - 1) // transformer["temporal_compression_ratio"] + 1
    tokens = area * frames + transformer["max_text_seq_length"]
    if tokens * transformer["num_attention_heads"] * transformer["attention_head_dim"] > _LARGEST_TABLE:
        raise InvalidInput(
            f"{folder / 'transformer' / 'config.json'}: sample_height, sample_width and sample_frames give a table of "
            f"positions for {tokens:,.0f} tokens, more than any model has"
        )


def _size_rule(transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> SizeRule:
    """Return what the pipeline can make without returning another size, or failing.

    Besides the first one, the VAE decodes latent frames two by two, hence 8 k + 1 frames and not 4 k + 1: asked for 5 or 13,
    the pipeline returns 8 or 16.
    """
    scale = 2 ** (len(vae["block_out_channels"]) - 1)
    step, grid = 2 * int(vae["temporal_compression_ratio"]), scale * int(transformer["patch_size"])
    own = (scale * transformer["sample_height"], scale * transformer["sample_width"])
    if transformer.get("use_learned_positional_embeddings"):
        return SizeRule(step, grid, largest=own, smallest=own, reason="its learned positions fix the height and the width")
    if transformer.get("patch_size_t") is not None:  # positions are cut out of a table
        return SizeRule(step, grid, largest=own, reason=f"its table of positions ends at {own[0]}x{own[1]}")
    return SizeRule(step, grid)

"""CogVideoX image-to-video, through diffusers' own pipeline: CogVideoX-5B-I2V and folders of the same classes.

Yang et al. 2024, "CogVideoX: Text-to-Video Diffusion Models with An Expert Transformer", https://arxiv.org/abs/2408.06072.

The transformer is a v-prediction denoiser over scaled VAE latents [batch frames channels height width]; the latents of the
first frame, padded with zeros over time, stand beside them on the channel axis. In training it must be shown exactly what
the pipeline shows it: the contract test in tests/models records the one and compares it with the other.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module

from videogpa.errors import UserError
from videogpa.maths.diffusion import add_noise, from_velocity, variance_preserving, velocity_target
from videogpa.models.base import PARTS, PLENTY, Expert, GenerationRequest, Memory, Part, Published, Sample, Sampling, fit_image
from videogpa.models.pipelines import Components, Texts, load_pipeline, place

_COMPONENTS: Components = {
    "text": ("tokenizer", "text_encoder"),
    "vae": ("vae",),
    "transformer": ("transformer",),
}
_OFS = 2.0  # what the pipeline puts in where the transformer has an ofs embedding


class CogVideoXImageToVideo:
    """CogVideoX-5B-I2V (about 21 GB in bfloat16 with its text encoder) and its miniatures."""

    published = (
        Published(
            hub_id="zai-org/CogVideoX-5b-I2V",
            licence="CogVideoX licence",
            commercial="after registration",
            parameters="5.6 B",
            memory="21 GB",
            paper="https://arxiv.org/abs/2408.06072",
        ),
    )
    needs_image = True
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0")  # the paper's

    def __init__(
        self, pipeline: CogVideoXImageToVideoPipeline, *, text_tokens: int, device: torch.device, memory: Memory
    ) -> None:
        """Take a pipeline, of which components may be None, and the number of text tokens the transformer is shown."""
        self._pipeline = pipeline
        self._text_tokens = text_tokens
        self._device = device
        self._memory = memory
        self._texts = Texts(self._encode_text, device)
        self.transformer: Module = pipeline.transformer
        place(pipeline, device, memory)

    @classmethod
    def check_size(cls, path: Path | str, *, revision: str | None, frames: int, height: int, width: int) -> None:
        """See `VideoModel.check_size`."""
        transformer, vae = _configurations(path, revision)
        _check_kind(path, transformer, vae)
        # Besides the first one, the VAE decodes latent frames two by two, hence 8 k + 1 and not 4 k + 1: asked for 5 or 13
        # frames, the pipeline returns 8 or 16.
        step = 2 * int(vae["temporal_compression_ratio"])
        scale = 2 ** (len(vae["block_out_channels"]) - 1)
        grid = scale * int(transformer["patch_size"])
        right = (max(1, round((frames - 1) / step)) * step + 1, _nearest(height, grid), _nearest(width, grid))
        rule = f"frames must be {step} k + 1, height and width multiples of {grid}"
        if transformer.get("use_learned_positional_embeddings"):
            right = (right[0], scale * transformer["sample_height"], scale * transformer["sample_width"])
            rule = f"frames must be {step} k + 1, and its learned positions fix the height and the width"
        if (frames, height, width) != right:
            raise UserError(
                f"{path} cannot make {frames} frames of {height}x{width} (height x width): {rule}. "
                f"The nearest that it can: frames {right[0]}, height {right[1]}, width {right[2]}."
            )

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
    ) -> "CogVideoXImageToVideo":
        """See `VideoModel.load`."""
        if expert != "both":
            raise UserError(f"CogVideoX has one transformer, and so no {expert}-noise expert; leave model.expert at both")
        transformer, vae = _configurations(path, revision)
        _check_kind(path, transformer, vae)
        pipeline = load_pipeline(
            CogVideoXImageToVideoPipeline, path, revision=revision, dtype=dtype, components=_COMPONENTS, parts=parts
        )
        if pipeline.scheduler.config.prediction_type != "v_prediction":
            raise UserError(f"{path}: its scheduler predicts {pipeline.scheduler.config.prediction_type}, not v_prediction")
        return cls(pipeline, text_tokens=transformer["max_text_seq_length"], device=device, memory=memory)

    def remember_texts(self, texts: Iterable[str]) -> None:
        """See `VideoModel.remember_texts`."""
        self._texts.remember(texts)
        self._pipeline.register_modules(text_encoder=None, tokenizer=None)
        place(self._pipeline, self._device, self._memory)

    def checkpoint_gradients(self) -> None:
        """See `VideoModel.checkpoint_gradients`."""
        self._pipeline.transformer.enable_gradient_checkpointing()

    def generate(self, requests: Iterable[GenerationRequest], sampling: Sampling) -> Iterator[Sample]:
        """See `VideoModel.generate`."""
        for request in requests:
            yield self._generate_one(request, sampling)

    def _generate_one(self, request: GenerationRequest, sampling: Sampling) -> Sample:
        output = self._pipeline(
            image=_first_frame(request, sampling.height, sampling.width)[None],
            prompt_embeds=self._texts(request.text)[None],
            negative_prompt_embeds=self._texts("")[None] if sampling.guidance > 1 else None,
            height=sampling.height,
            width=sampling.width,
            num_frames=sampling.frames,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance,
            generator=torch.Generator().manual_seed(request.seed),  # on the CPU: the same noise for every device
            output_type="latent",
        )
        latents: Tensor = output.frames[0]
        sample = Sample(self.decode_latents(latents), latents.cpu())
        if not sample.video.isfinite().all():
            raise UserError(
                f"the model made a clip that is not a number anywhere (seed {request.seed}, {self._pipeline.dtype}). "
                "float16 overflows in some models: try model.dtype bfloat16 or float32."
            )
        return sample

    @torch.no_grad()
    def encode_video(self, video: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "latent_frames channels h w"]:
        """See `VideoModel.encode_video`. The mean of the VAE's posterior, scaled as the transformer knows it."""
        mean = self._pipeline.vae.encode(self._to_vae(video)).latent_dist.mode()
        latents: Tensor = (self._scale * mean)[0].transpose(0, 1).contiguous()
        return latents

    @torch.no_grad()
    def decode_latents(self, latents: Float[Tensor, "latent_frames channels h w"]) -> Float[Tensor, "frames 3 height width"]:
        """See `VideoModel.decode_latents`."""
        frames = self._pipeline.decode_latents(latents[None].to(self._device, self._pipeline.vae.dtype))
        video: Tensor = self._pipeline.video_processor.postprocess_video(video=frames, output_type="pt")[0].float().cpu()
        return video

    @torch.no_grad()
    def encode_condition(self, request: GenerationRequest, *, frames: int, height: int, width: int) -> dict[str, Tensor]:
        """See `VideoModel.encode_condition`.

        Returns `text` [tokens features] and `image` [1 channels h w], the latents of the first frame. They are drawn from the
        VAE's posterior with the request's seed, as the pipeline does.
        """
        text = self._texts(request.text)
        posterior = self._pipeline.vae.encode(self._to_vae(_first_frame(request, height, width)[None])).latent_dist
        drawn = posterior.sample(torch.Generator().manual_seed(request.seed)).to(text.dtype)
        # The released weights of some image-to-video models were trained with the first frame's latents divided by the
        # factor; diffusers keeps note of it in the VAE's configuration.
        image = 1 / self._scale * drawn if self._pipeline.vae.config.invert_scale_latents else self._scale * drawn
        return {"text": text, "image": image[0].transpose(0, 1).contiguous()}

    def timesteps_at(self, quantiles: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """See `VideoModel.timesteps_at`."""
        count: int = self._pipeline.scheduler.config.num_train_timesteps
        return (quantiles * count).long()

    def prediction_and_target(
        self,
        latents: Float[Tensor, "batch latent_frames channels h w"],
        noise: Float[Tensor, "batch latent_frames channels h w"],
        timesteps: Int[Tensor, " batch"],
        conditions: Mapping[str, Tensor],
    ) -> tuple[Float[Tensor, "batch latent_frames channels h w"], Float[Tensor, "batch latent_frames channels h w"]]:
        """See `VideoModel.prediction_and_target`. The space is that of v."""
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
        """See `VideoModel.clean_from_prediction`."""
        alpha, sigma = self._mix(timesteps)
        noisy = add_noise(latents.float(), noise.float(), alpha=alpha, sigma=sigma)
        clean, _ = from_velocity(noisy, prediction.float(), alpha=alpha, sigma=sigma)
        return clean

    def _mix(self, timesteps: Int[Tensor, " batch"]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        return variance_preserving(self._pipeline.scheduler.alphas_cumprod[timesteps.cpu()])

    def transformer_inputs(
        self,
        noisy: Float[Tensor, "batch latent_frames channels h w"],
        timesteps: Int[Tensor, " batch"],
        conditions: Mapping[str, Tensor],
    ) -> dict[str, Any]:
        """Return every argument of the transformer: those that the pipeline calls it with."""
        pipeline, config = self._pipeline, self._pipeline.transformer.config
        dtype, device = conditions["text"].dtype, noisy.device
        frames, _, h, w = noisy.shape[1:]
        image = torch.zeros_like(noisy)
        image[:, :1] = conditions["image"]
        scale = pipeline.vae_scale_factor_spatial
        rotary = None
        if config.use_rotary_positional_embeddings:
            rotary = pipeline._prepare_rotary_positional_embeddings(h * scale, w * scale, frames, device)
        return {
            "hidden_states": torch.cat([noisy, image], dim=2).to(dtype),
            "encoder_hidden_states": conditions["text"],
            "timestep": timesteps,
            "ofs": None if config.ofs_embed_dim is None else torch.full((1,), _OFS, dtype=dtype, device=device),
            "image_rotary_emb": rotary,
            "attention_kwargs": None,
            "return_dict": False,
        }

    @property
    def _scale(self) -> float:
        return float(self._pipeline.vae.config.scaling_factor)

    def _to_vae(self, frames: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "1 3 frames height width"]:
        """RGB in [0, 1] to the VAE's [-1, 1], layout, device and dtype."""
        return (2 * frames - 1).transpose(0, 1)[None].to(self._device, self._pipeline.vae.dtype)

    def _encode_text(self, text: str) -> Float[Tensor, "tokens features"]:
        states, _ = self._pipeline.encode_prompt(
            text, do_classifier_free_guidance=False, max_sequence_length=self._text_tokens, device=self._device
        )
        encoded: Tensor = states[0]
        return encoded


def _first_frame(request: GenerationRequest, height: int, width: int) -> Float[Tensor, "3 height width"]:
    if request.image is None:
        raise UserError(f"an image-to-video model needs a first frame, and the prompt {request.text!r} has none")
    return fit_image(request.image, height=height, width=width)


def _nearest(value: int, multiple: int) -> int:
    return max(1, round(value / multiple)) * multiple


def _configurations(path: Path | str, revision: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configurations of the transformer and of the VAE, without loading either."""
    try:
        return (
            CogVideoXTransformer3DModel.load_config(path, subfolder="transformer", revision=revision),
            AutoencoderKLCogVideoX.load_config(path, subfolder="vae", revision=revision),
        )
    except OSError as error:
        raise UserError(f"no CogVideoX model at {path}: {error}") from None


def _check_kind(path: Path | str, transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
    if transformer["in_channels"] != 2 * vae["latent_channels"]:
        raise UserError(f"{path} is no image-to-video model: its transformer takes no image latents beside the noisy ones")
    if transformer.get("patch_size_t") is not None:
        raise UserError(f"{path} is a CogVideoX1.5 model, whose patches over time are not supported")

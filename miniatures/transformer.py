"""The miniature's transformer: CogVideoX's class at small width, trained with the inputs that the pipeline gives it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
)
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import init
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import mse_loss
from transformers import T5Config, T5EncoderModel

from miniatures.fit import Budget, fit
from miniatures.grow import grow_transformer
from miniatures.latents import Encoded, read_latents
from miniatures.plan import Plan
from miniatures.prompts import texts, tokenizer
from videogpa.models.base import GenerationRequest, VideoModel
from videogpa.models.toys.common import quietly_seeded
from videogpa.registry import MODELS, load
from videogpa.storage.files import atomic_folder
from videogpa.world.paths import PATHS

UNTRAINED = "untrained"
ATTENTION = {
    "cpu": [SDPBackend.MATH],  # it takes half the time of torch's choice, for a few short sequences in bfloat16
    "cuda": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
}


def build_pipeline(plan: Plan, vae: AutoencoderKLCogVideoX) -> CogVideoXImageToVideoPipeline:
    """Build a pipeline of the autoencoder, and a transformer and a text encoder with random weights from the plan's seed.

    The text encoder is not trained: its states differ between words, which suffices for a dozen sentences.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        vae: The autoencoder, trained or not.
    """
    words = tokenizer()
    grid = plan.size // 2 ** (len(plan.vae_widths) - 1)
    with quietly_seeded(plan.seed):
        text_encoder = T5EncoderModel(
            T5Config(
                vocab_size=len(words), d_model=plan.text_width, d_kv=16, d_ff=2 * plan.text_width, num_layers=1, num_heads=4
            )
        )
        transformer = CogVideoXTransformer3DModel(
            num_attention_heads=plan.heads,
            attention_head_dim=plan.head_width,
            in_channels=2 * plan.latent_channels,
            out_channels=plan.latent_channels,
            time_embed_dim=plan.time_width,
            text_embed_dim=plan.text_width,
            num_layers=plan.layers,
            sample_width=grid,
            sample_height=grid,
            sample_frames=plan.frames,
            patch_size=plan.patch,
            max_text_seq_length=plan.text_tokens,
            use_rotary_positional_embeddings=True,
            use_learned_positional_embeddings=True,  # as in the 5B model, absolute positions beside the rotary ones
        )
    _start_as_identity(transformer)
    return CogVideoXImageToVideoPipeline(words, text_encoder.eval(), vae.eval(), transformer.eval(), _scheduler())


def train_transformer(plan: Plan, out: Path, budget: Budget, device: torch.device, smaller: Path | None = None) -> None:
    """Train the transformer on the latents in `<out>/latents`; its checkpoint is `<out>/transformer.pt`.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        out: The folder of the making, which holds the autoencoder and the latents.
        budget: The number of steps or minutes.
        device: Where the tensors are computed.
        smaller: The folder of a pipeline for smaller clips, whose transformer training starts from; None: from random weights.
    """
    model = load_untrained(plan, out, device)
    if smaller is not None:
        grow_transformer(model.transformer, load_folder(smaller, device).transformer.state_dict())
    model.transformer.requires_grad_(True).train()
    course = Course(plan, read_latents(plan, out, device), text_states(plan, model), _scale(out))
    fit(
        model.transformer,
        lambda step: course.loss(model, step),
        out / "transformer.pt",
        rate=plan.rate,
        budget=budget,
        checkpoint_seconds=plan.checkpoint_seconds,
    )


def load_untrained(plan: Plan, out: Path, device: torch.device) -> VideoModel:
    """Load the untrained model as any recipe would. It is written to `<out>/untrained` if it is not there.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        out: The folder of the making, which holds the autoencoder.
        device: Where the tensors are computed.
    """
    path = out / UNTRAINED
    if not path.exists():
        with atomic_folder(path) as temporary:
            build_pipeline(plan, AutoencoderKLCogVideoX.from_pretrained(out / "vae")).save_pretrained(temporary)
    return load_folder(path, device)


def load_folder(path: Path, device: torch.device) -> VideoModel:
    """Load a model from a folder in float32, as any recipe would.

    Args:
        path: The model, as diffusers saves it.
        device: Where the tensors are computed.
    """
    model: VideoModel = load(MODELS, "cogvideox-i2v").load(path, revision=None, device=device, dtype=torch.float32)
    return model


def text_states(plan: Plan, model: VideoModel) -> Float[Tensor, "cameras texts tokens features"]:
    """Return the text embeddings that the transformer receives, for every text of every camera path.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        model: The model with the text encoder.
    """
    size = {"frames": plan.frames, "height": plan.size, "width": plan.size}
    blank = torch.zeros(3, plan.size, plan.size)

    def state(text: str) -> Tensor:
        return model.encode_condition(GenerationRequest(text, blank, 0), **size)["text"]

    return torch.stack([torch.stack([state(text) for text in texts(camera)]) for camera in PATHS])


def _scale(out: Path) -> float:
    return float(AutoencoderKLCogVideoX.load_config(out / "vae")["scaling_factor"])


@dataclass(frozen=True, eq=False)
class Course:
    """The transformer's training data: latents, text embeddings, and the scale of the latents."""

    plan: Plan
    data: Encoded
    states: Float[Tensor, "cameras texts tokens features"]
    scale: float

    def loss(self, model: VideoModel, step: int) -> Tensor:
        """Return the mean squared error of v on a batch that the step determines.

        Args:
            model: The model that is trained.
            step: The number of the step.
        """
        plan, data, device = self.plan, self.data, self.states.device
        generator = Generator().manual_seed(plan.seed + step)
        chosen = torch.randint(len(data.video), (plan.batch,), generator=generator).to(device)
        natural = torch.rand(plan.batch, generator=generator) < plan.natural
        wording = (torch.randint(1, self.states.shape[1], (plan.batch,), generator=generator) * natural).to(device)
        quantiles = (torch.arange(plan.batch) + torch.rand(plan.batch, generator=generator)) / plan.batch  # stratified
        latents = self.scale * data.video[chosen].float()
        noise = torch.randn(latents.shape, generator=generator).to(device)
        image, image_std = data.image[chosen].float(), data.image_std[chosen].float()
        image = self.scale * (image + image_std * torch.randn(image.shape, generator=generator).to(device))
        conditions = {"image": image, "text": self.states[data.camera[chosen], wording]}
        timesteps = model.timesteps_at(quantiles).to(device)
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(ATTENTION[device.type]):
            prediction, target = model.prediction_and_target(latents, noise, timesteps, conditions)
        return mse_loss(prediction.float(), target)


def _start_as_identity(transformer: CogVideoXTransformer3DModel) -> None:
    """Initialise all gates and the output to zero (adaLN-Zero).

    The source is Peebles and Xie 2022, "Scalable Diffusion Models with Transformers", https://arxiv.org/abs/2212.09748,
    section 3.2.
    """
    for block in transformer.transformer_blocks:
        for layer in (block.norm1.linear, block.norm2.linear):
            init.zeros_(layer.weight)
            init.zeros_(layer.bias)
    init.zeros_(transformer.norm_out.linear.weight)
    init.zeros_(transformer.norm_out.linear.bias)
    init.zeros_(transformer.proj_out.weight)
    init.zeros_(transformer.proj_out.bias)


def _scheduler() -> CogVideoXDPMScheduler:
    """Return the schedule of the 5B models: v-prediction, zero SNR at the last timestep, no shift."""
    return CogVideoXDPMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
        clip_sample=False,
    )

"""Qwen2-VL with VideoReward's head: transformers' own class, filled with the merged tensors of the published file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from videogpa.errors import InvalidInput, problems
from videogpa.judges.encoders import Activation, Layers, Size
from videogpa.judges.videoreward.checkpoint import Parts
from videogpa.judges.videoreward.inputs import MERGED, PATCH, TOGETHER
from videogpa.weight_files import differences, read_json

_IDS = Annotated[int, Field(ge=0, le=10_000_000)]


class VisionSizes(BaseModel):
    """`vision_config` of Qwen2-VL's config.json, as far as it counts; the defaults are those of the 2B model."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    depth: Layers = 32
    embed_dim: Size = 1280
    hidden_size: Size = 1536
    hidden_act: Activation = "quick_gelu"
    mlp_ratio: Annotated[int, Field(ge=1, le=64)] = 4
    num_heads: Size = 16


class TextSizes(BaseModel):
    """`text_config` of Qwen2-VL's config.json, which stood at its top before transformers 4.52."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    hidden_size: Size = 1536
    intermediate_size: Size = 8960
    num_hidden_layers: Layers = 28
    num_attention_heads: Size = 12
    num_key_value_heads: Size = 2
    hidden_act: Activation = "silu"
    max_position_embeddings: Annotated[int, Field(ge=1, le=10_000_000)] = 32_768
    rms_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    rope_theta: Annotated[float, Field(gt=1, le=1e12)] = 1_000_000.0

    @model_validator(mode="before")
    @classmethod
    def _of_any_version(cls, content: Any) -> Any:
        rope = content.get("rope_parameters") if isinstance(content, dict) else None
        return {**content, "rope_theta": rope["rope_theta"]} if isinstance(rope, dict) and "rope_theta" in rope else content

    @model_validator(mode="after")
    def _possible(self) -> "TextSizes":
        heads = self.num_attention_heads
        if self.hidden_size % heads or heads % self.num_key_value_heads or self.hidden_size // heads % 4:
            raise ValueError("hidden_size is a multiple of 4 x num_attention_heads, and that of num_key_value_heads")
        return self


class Sizes(BaseModel):
    """Qwen2-VL's config.json, as far as it counts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    text: TextSizes
    vision: VisionSizes
    image_token_id: _IDS = 151_655
    video_token_id: _IDS = 151_656

    @model_validator(mode="before")
    @classmethod
    def _of_any_version(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return {**content, "text": content.get("text_config", content), "vision": content.get("vision_config", {})}

    @model_validator(mode="after")
    def _possible(self) -> "Sizes":
        if self.vision.hidden_size != self.text.hidden_size or self.vision.embed_dim % (4 * self.vision.num_heads):
            raise ValueError("vision_config does not fit text_config, or embed_dim is no multiple of 4 x num_heads")
        return self


def read_sizes(path: Path) -> Sizes:
    """Read the config.json of Qwen2-VL.

    Raises:
        MissingInput: If there is none.
        InvalidInput: If it cannot be used.
    """
    try:
        return Sizes.model_validate(read_json(path))
    except ValidationError as error:
        raise InvalidInput(f"{path} cannot be used: {'; '.join(problems(error, whole='the file')[:4])}") from None


def build(sizes: Sizes, parts: Parts, file: Path, device: torch.device, dtype: torch.dtype) -> "Rewarding":
    """Build the network of the tensors of a file.

    Args:
        sizes: Those of config.json. As many words as the file has are known.
        parts: The tensors, by the names of transformers' class.
        file: Where they are from, for messages.
        device: Where the network runs.
        dtype: In what precision.

    Raises:
        InvalidInput: If they are not those of the network.
    """
    from accelerate import init_empty_weights
    from transformers import Qwen2VLConfig, Qwen2VLModel

    words = len(parts.network.get("language_model.embed_tokens.weight", ()))
    head = sizes.text.hidden_size // sizes.text.num_attention_heads
    text = {
        **sizes.text.model_dump(exclude={"rope_theta"}),
        "vocab_size": words,
        # How the three axes share the frequencies changes nothing here, where all three positions are the same.
        "rope_parameters": {"rope_type": "default", "rope_theta": sizes.text.rope_theta, "mrope_section": [head // 2, 0, 0]},
    }
    vision = {
        **sizes.vision.model_dump(),
        "patch_size": PATCH,
        "spatial_merge_size": MERGED,
        "temporal_patch_size": TOGETHER,
    }
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=sizes.image_token_id,
        video_token_id=sizes.video_token_id,
    )
    with init_empty_weights(include_buffers=False):
        network = Qwen2VLModel(config)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    wrong = differences({name: tuple(tensor.shape) for name, tensor in parts.network.items()}, expected)
    if not wrong and parts.head.shape[1] != sizes.text.hidden_size:
        wrong = [f"the head is for {parts.head.shape[1]} numbers"]
    if wrong:
        raise InvalidInput(f"{file} are not the weights of the network in config.json: {'; '.join(wrong)}")
    placed = {name: tensor.to(device, dtype, copy=True) for name, tensor in parts.network.items()}
    network.load_state_dict(placed, assign=True)
    return Rewarding(network.to(device).eval().requires_grad_(False), parts.head.to(device, dtype), sizes)


@dataclass(frozen=True)
class Rewarding:
    """The network and its head, ready."""

    network: Any
    head: Float[Tensor, "outputs hidden"]
    sizes: Sizes

    @torch.inference_mode()
    def __call__(
        self,
        ids: Int[Tensor, " tokens"],
        patches: Float[Tensor, "patches values"],
        grid: tuple[int, int, int],
        read_at: Mapping[str, int],
    ) -> dict[str, float]:
        """Return the raw rewards of one clip.

        Positions count up through clip and text alike on all three axes. Qwen2-VL gives the patches of a clip positions in
        time, height and width; transformers 4.45, with which the published weights were trained, does not where a class of
        one's own calls the language model, as VideoAlign's does.

        Args:
            ids: The tokens of the question.
            patches: The clip's, as `inputs.patches` gives them.
            grid: How many there are in time, height and width.
            read_at: VQ, MQ and TA -> the position of its token.
        """
        device, dtype = self.head.device, self.head.dtype
        positions = torch.arange(len(ids), device=device)[None, None].expand(3, 1, -1)
        hidden: Tensor = self.network(
            input_ids=ids[None].to(device),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=device),
            position_ids=positions,
            pixel_values_videos=patches.to(device, dtype),
            video_grid_thw=torch.tensor([grid], device=device),
            use_cache=False,
        ).last_hidden_state[0]
        rewards = hidden[list(read_at.values())] @ self.head.T  # one output, or one for each
        chosen = rewards.diagonal() if len(self.head) == len(read_at) else rewards[:, 0]
        return dict(zip(read_at, chosen.float().tolist(), strict=True))

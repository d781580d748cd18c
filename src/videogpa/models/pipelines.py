"""Helpers for diffusers' pipelines that all model families share: loading parts, saving memory, caching text embeddings."""

import gc
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from torch.nn import Module
from transformers.utils import logging as transformers_logging

from videogpa.errors import UserError
from videogpa.models.base import PARTS, GenerationRequest, Memory, Part, Sample, Sampling
from videogpa.models.folders import INDEX, Family, check_folder, check_vocabulary, in_sentences, load_component, local_folder

_log = logging.getLogger(__name__)
_SHOWN = 60  # characters of a prompt in a message

Components = Mapping[Part, tuple[str, ...]]
"""The components of a pipeline that make up each part of a model."""


def load_pipeline(
    kind: type[DiffusionPipeline],
    path: Path | str,
    *,
    family: Family,
    revision: str | None,
    dtype: torch.dtype | dict[str, torch.dtype],
    components: Components,
    parts: Collection[Part],
    without: Collection[str] = (),
) -> Any:
    """Load a pipeline with the named parts, frozen and on the CPU, without progress bars.

    The folder is checked first, whole. Weights are read from safetensors files alone, and no code of the folder is run.

    Args:
        kind: The pipeline's class.
        path: A folder in diffusers' format, or a hub id.
        family: What the folder should hold.
        revision: The revision of the hub id, or None for the default one.
        dtype: The dtype of all components, or one per component.
        components: The names of the components that make up each part.
        parts: The parts to load; the components of the other parts are None.
        without: Further components that are not loaded and are None.

    Returns:
        The pipeline, an object of class `kind`.

    Raises:
        UserError: If the folder is missing, damaged, or not of the family; the message names the component.
    """
    absent = {name: None for part in PARTS if part not in parts for name in components[part]} | dict.fromkeys(without)
    wanted = [name for name in family.classes if name not in absent]
    folder = local_folder(path, family, revision=revision, components=wanted)
    classes = check_folder(folder, family, components=wanted)
    diffusers_logging.disable_progress_bar()  # one bar per component would break up the bar of the stage
    transformers_logging.disable_progress_bar()
    loaded = {name: load_component(folder, name, classes[name], _dtype_of(name, dtype)) for name in wanted if name in classes}
    check_vocabulary(folder, loaded.get("tokenizer"), loaded.get("text_encoder"))
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_says_more_than_a_long_text)
    with in_sentences(folder, INDEX):
        pipeline = kind.from_pretrained(folder, local_files_only=True, **loaded, **absent)
    pipeline.set_progress_bar_config(disable=True)
    for component in pipeline.components.values():
        if isinstance(component, Module):
            component.requires_grad_(False)
    return pipeline


def _dtype_of(component: str, dtype: torch.dtype | dict[str, torch.dtype]) -> torch.dtype:
    return dtype if isinstance(dtype, torch.dtype) else dtype.get(component, dtype["default"])


_LOGGERS = (
    "diffusers.pipelines.cogvideo.pipeline_cogvideox",
    "diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video",
    "transformers.tokenization_utils_base",
)


def _says_more_than_a_long_text(record: logging.LogRecord) -> bool:
    """Leave out the warnings that print the end of a text that is too long; `Texts` names the prompt in one line."""
    return not record.getMessage().startswith(
        ("The following part of your input was truncated", "Token indices sequence length")
    )


def place(pipeline: Any, device: torch.device, memory: Memory) -> None:
    """Move the pipeline to the device, or have each component moved there only while it runs; see `Memory`."""
    if memory.tiling and pipeline.vae is not None:
        pipeline.vae.enable_tiling()
        pipeline.vae.enable_slicing()
    modules = [component for component in pipeline.components.values() if isinstance(component, Module)]
    # A single part is never idle, and an optimizer needs its parameters to stay on one device.
    if memory.offload and len(modules) > 1:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)


def drop(pipeline: Any, names: Iterable[str], device: torch.device, memory: Memory) -> None:
    """Remove the components with these names from a pipeline, and free their memory."""
    pipeline.register_modules(**dict.fromkeys(names))
    place(pipeline, device, memory)  # the offloading hooks keep references to the modules: this makes new ones
    gc.collect()  # a module that had hooks is part of a reference cycle
    if device.type == "cuda":
        torch.cuda.empty_cache()


def check_finite(sample: Sample, request: GenerationRequest, dtype: torch.dtype) -> None:
    """Check that a clip contains neither NaN nor Inf.

    Raises:
        UserError: If the clip contains one.
    """
    if not sample.video.isfinite().all():
        raise UserError(
            f"the model generated a clip some pixels of which are not a number (seed {request.seed}, {dtype}). "
            "float16 overflows in some models: try model.dtype bfloat16 or float32."
        )


class Texts:
    """Text embeddings by text. They are encoded on demand, or come from a cache after the encoder has been freed."""

    def __init__(
        self, encode: Callable[[str], Tensor], device: torch.device, *, tokenizer: Any = None, tokens: int = 0
    ) -> None:
        """Create it.

        Args:
            encode: Encodes one text.
            device: The device on which embeddings are returned.
            tokenizer: The text encoder's tokenizer; None if the model has no text encoder.
            tokens: The most tokens that the encoder takes of a text.
        """
        self._encode: Callable[[str], Tensor] | None = encode
        self._device = device
        self._tokenizer, self._tokens = tokenizer, tokens
        self._remembered: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, text: str) -> Tensor:
        """Return the embeddings of a text.

        Raises:
            UserError: If the encoder was freed and the text is not cached.
        """
        if text in self._remembered:
            return self._remembered[text].to(self._device)
        if self._encode is None:
            raise UserError(f"the text encoder was freed, and the text {text!r} is not among the cached ones")
        self._warn_if_too_long(text)
        return self._encode(text).to(self._device)

    def _warn_if_too_long(self, text: str) -> None:
        count = 0 if self._tokenizer is None else len(self._tokenizer(text, verbose=False).input_ids)
        if count > self._tokens:
            beginning = f"{text[:_SHOWN]}..."
            _log.warning(
                "the prompt %r has %d tokens and the text encoder takes %d: its end is ignored", beginning, count, self._tokens
            )

    def remember(self, texts: Iterable[str]) -> None:
        """Cache the embeddings of these texts and of the empty one on the CPU, and drop the encoder.

        Raises:
            UserError: If the encoder was freed before and one of the texts is not cached.
        """
        self._remembered = {text: self(text).cpu() for text in dict.fromkeys(("", *texts))}
        self._encode = self._tokenizer = None


def sampling_arguments(request: GenerationRequest, sampling: Sampling, texts: Texts) -> dict[str, Any]:
    """Return the arguments of every pipeline call except a first frame. The call returns latents, which the caller decodes."""
    second = {} if sampling.guidance_scale_2 is None else {"guidance_scale_2": sampling.guidance_scale_2}
    return {
        "prompt_embeds": texts(request.text)[None],
        "negative_prompt_embeds": texts(sampling.negative_prompt)[None] if sampling.guidance_scale > 1 else None,
        "height": sampling.height,
        "width": sampling.width,
        "num_frames": sampling.frames,
        "num_inference_steps": sampling.num_inference_steps,
        "guidance_scale": sampling.guidance_scale,
        **second,
        "generator": torch.Generator().manual_seed(request.seed),  # on the CPU, for the same noise on every device
        "output_type": "latent",
    }

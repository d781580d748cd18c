"""VideoReward: what people would prefer, in visual quality, motion quality and text alignment, by Qwen2-VL-2B.

- Method: Liu et al. 2025, https://arxiv.org/abs/2501.13918 (VideoAlign); the reward of the paper's table (VQ, MQ, TA, OVL).
- Cost, estimated: a download of 4.6 GB, to be converted; 5 GB of GPU memory in bfloat16; on a CPU 9 GB, in float32, and minutes
  a clip.
- Licence: Apache-2.0 by the model card of the weights; the question's text is MIT.
- Limits: it agrees with people on about 72 % of pairs of 1 s clips and 60 % of 5 s clips (DenseDPO, arXiv 2506.03517). More
  frames give higher rewards, so compare clips of one length and rate. Its motion quality favours large motion, and training on
  it has led to cartoon styles: read motion, saturation and exposure beside it.
- The LoRA is added to the matrices in float32; the original keeps it apart in bfloat16, which rounds otherwise.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch

from videogpa import hub
from videogpa.critics.networks.sources import local_source
from videogpa.critics.networks.weights import trunk_precision
from videogpa.devices import pick_device
from videogpa.errors import InvalidInput, MissingInput
from videogpa.judges import cards
from videogpa.judges.base import CannotJudge, JudgedClip
from videogpa.judges.encoders import sha256
from videogpa.judges.videoreward.checkpoint import merged, read_settings, weights_of
from videogpa.judges.videoreward.inputs import MERGED, TOKENS, chosen_frames, patches, question, resized
from videogpa.judges.videoreward.network import build, read_sizes
from videogpa.models.folders import in_sentences
from videogpa.weight_files import kind_of_file, read_tensors, require_finite

OF_QWEN = ("config.json", "tokenizer.json")
_LARGEST_TOKENIZER = 100_000_000  # bytes; Qwen2-VL's has 7 million


class VideoRewardJudge:
    """VQ, MQ, TA and their sum, in standard deviations of the published normalisation.

    Args:
        weights: The folder of KwaiVGI/VideoReward, with model.pth converted to safetensors, and with config.json and
            tokenizer.json of Qwen/Qwen2-VL-2B-Instruct copied into it.
        device: A torch device, or `auto` for a GPU if there is one.

    Raises:
        UserError: If something of the folder is missing or does not fit, or there is no such device.
    """

    CARDS: ClassVar = cards.CARDS["videoreward"]
    MEASURES: ClassVar = cards.own_measures("videoreward")
    READS_TEXT: ClassVar[bool] = True

    def __init__(self, weights: str | Path, device: str = "auto") -> None:
        folder = _folder(weights)
        self._settings = read_settings(folder)
        sizes = read_sizes(folder / "config.json")
        file = weights_of(folder)
        chosen = pick_device(device)
        dtype = trunk_precision(chosen)
        tensors = read_tensors(file, what="the weights of VideoReward")
        require_finite(file, tensors)
        parts = merged(tensors, self._settings.peft_lora_config, file, dtype)
        del tensors
        self._network = build(sizes, parts, file, chosen, dtype)
        words = len(parts.network["language_model.embed_tokens.weight"])
        self._tokenizer = _tokenizer(folder / "tokenizer.json", words=words)
        data = self._settings.data_config
        self.details = {
            "weights": str(weights),
            "sha256": sha256(file),
            "fps": f"{data.fps:g}",
            "pixels": str(data.max_frame_pixels),
            "dtype": str(dtype).removeprefix("torch."),
        }

    def judge(self, clip: JudgedClip) -> dict[str, float]:
        """Return `vq`, `mq`, `ta` and `ovl`.

        Raises:
            CannotJudge: If the clip has one frame, no text, or too much of either for the network.
        """
        if not clip.text:
            raise CannotJudge(
                "it is judged against the text that it was made for, and has none: name a file of them with --prompts"
            )
        data = self._settings.data_config
        indices = chosen_frames(clip.frames, clip.fps, data.fps)
        small = torch.cat([resized(part, data.max_frame_pixels) for part in clip.parts(indices)])
        cut, grid = patches(small)
        ids = torch.tensor(self._tokenizer.encode(question(clip.text, len(cut) // MERGED**2), add_special_tokens=False).ids)
        read_at = self._read_at(ids, tokens=len(cut) // MERGED**2)
        normal = self._settings.inference_config.of(self._network(ids, cut, grid, read_at))
        return {"vq": normal["VQ"], "mq": normal["MQ"], "ta": normal["TA"], "ovl": normal["Overall"]}

    def _read_at(self, ids: torch.Tensor, tokens: int) -> dict[str, int]:
        """Return the positions of the three special tokens, after checking that nothing of the text passes for one."""
        most = self._network.sizes.text.max_position_embeddings
        if len(ids) > most:
            raise CannotJudge(f"clip and text have {len(ids):,} tokens, and the network reads {most:,}: cut the clip")
        found = {
            name: (ids == self._tokenizer.token_to_id(token)).nonzero()[:, 0]
            for name, token in zip(_NAMES, TOKENS, strict=True)
        }
        in_clip = int((ids == self._network.sizes.video_token_id).sum())
        in_images = int((ids == self._network.sizes.image_token_id).sum())
        if any(len(places) != 1 for places in found.values()) or in_clip != tokens or in_images:
            raise CannotJudge("its text holds tokens that the network keeps for itself, such as <|video_pad|>")
        return {name: int(places[0]) for name, places in found.items()}


_NAMES = ("VQ", "MQ", "TA")


def _folder(weights: str | Path) -> Path:
    """Return the folder, or that of the hub's cache: the weights on the hub are a pickle, which has to be converted first."""
    local = local_source(weights)
    if local is None:
        local = hub.cached(str(weights), patterns=("*.json", "checkpoint-*"))
    if local is None:
        raise MissingInput(
            f"{weights} is not on this machine, and its weights are a pickle that has to be converted: fetch it with "
            f"`hf download {weights} --local-dir VideoReward`, and see docs/how-to/judges.md"
        )
    folder = local if local.is_dir() else local.parent
    lacking = [name for name in OF_QWEN if kind_of_file(folder / name) == "missing"]
    if lacking:
        raise MissingInput(
            f"{folder} lacks {' and '.join(lacking)} of Qwen2-VL: `hf download Qwen/Qwen2-VL-2B-Instruct {' '.join(OF_QWEN)} "
            f"--local-dir {folder}`"
        )
    return folder


def _tokenizer(path: Path, *, words: int) -> Any:
    """Read the tokenizer, and give it the three tokens that the head is read at: the last of the network's words."""
    from tokenizers import AddedToken, Tokenizer

    kind = kind_of_file(path)
    if kind not in ("JSON", "text") or path.stat().st_size > _LARGEST_TOKENIZER:
        raise InvalidInput(f"{path} is no tokenizer: fetch it again")
    with in_sentences(path.parent, "tokenizer"):
        tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in TOKENS])
    if tokenizer.get_vocab_size(with_added_tokens=True) != words:
        raise InvalidInput(
            f"{path} has {tokenizer.get_vocab_size(with_added_tokens=True):,} tokens with the three of VideoReward, and the "
            f"weights have {words:,}: take that of Qwen/Qwen2-VL-2B-Instruct"
        )
    return tokenizer

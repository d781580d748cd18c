"""LPIPS: how different two images look, as the distance between deep features.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", https://arxiv.org/abs/1801.03924,
version 0.1 of the authors' linear heads. `alex` (5 MB) ships with the package. `vgg` (29 MB), the paper's choice for its 3DCS,
is put together on first use from torchvision's public VGG16 checkpoint and the shipped heads, and cached. Weights are float16
(error of a distance under 1e-4) and are refused unless their SHA-256 is the known one, wherever they come from.
"""

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d, interpolate, max_pool2d, relu

from videogpa.convert import read_checkpoint
from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.hub import answers
from videogpa.maths.render import one_thread
from videogpa.parallel import parallel_map
from videogpa.pixels import Frames, as_frames, shape_text
from videogpa.weight_files import kind_of_file, read_tensors

Net = Literal["alex", "vgg"]

SHIPPED = Path(__file__).parents[1] / "weights"
VGG_VARIABLE = "VIDEOGPA_LPIPS_VGG"  # names a file to read the vgg weights from
VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
VGG16_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
CONTENT_SHA256 = {  # of what `content_digest` reads, so that the container does not matter
    "alex": "8f5a1a1068bcb885aa57617692f98395450de68cb5fcf675a0d88fa08923e0fd",
    "vgg": "5724a7bd8803294cd8c2ec25650588abc4b41708ebfcc1f1ec3eaf51eb4d4e62",
}

# Mean and standard deviation of ImageNet, moved to images in [-1, 1] as LPIPS expects them (authors' code, `ScalingLayer`)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
PIXELS_AT_ONCE = 2**19  # of one side of the comparison: about 0.5 GB of vgg features


@dataclass(frozen=True)
class Stage:
    """Convolutions (index in torchvision's `features`, stride, padding) whose last output is compared."""

    convolutions: tuple[tuple[int, int, int], ...]
    pool: int | None = None
    """Side of the max-pooling window in front of the stage; its stride is 2."""


STAGES = {
    "alex": (
        Stage(((0, 4, 2),)),
        Stage(((3, 1, 2),), pool=3),
        Stage(((6, 1, 1),), pool=3),
        Stage(((8, 1, 1),)),
        Stage(((10, 1, 1),)),
    ),
    "vgg": (
        Stage(((0, 1, 1), (2, 1, 1))),
        Stage(((5, 1, 1), (7, 1, 1)), pool=2),
        Stage(((10, 1, 1), (12, 1, 1), (14, 1, 1)), pool=2),
        Stage(((17, 1, 1), (19, 1, 1), (21, 1, 1)), pool=2),
        Stage(((24, 1, 1), (26, 1, 1), (28, 1, 1)), pool=2),
    ),
}


LEAST = {"alex": 31, "vgg": 16}  # pixels of a side that leave one for the last stage


class TooSmall(UserError):  # noqa: N818 - a finding about the images
    """Images are smaller than the network can look at."""


class Lpips(nn.Module):
    """LPIPS between RGB images in [0, 1]; 0 = equal, about 1 = unrelated. Has no trainable parameters.

    A pair of 256 x 144 pixels takes about 10 ms with `alex` and 150 ms with `vgg` on two CPU cores.

    Args:
        net: The network whose features are compared: `alex`, whose weights ship, or `vgg`, which the paper used.
        weights: The file to read instead of the usual place: a safetensors file with both features and heads, or, for `vgg`,
            torchvision's `vgg16-397923af.pth`.

    Raises:
        MissingInput: If the weights are not here and cannot be fetched; the message says what to do.
        InvalidInput: If the file holds other weights than those of LPIPS v0.1.
    """

    def __init__(self, net: Net, weights: Path | str | None = None) -> None:
        super().__init__()
        self.net: Net = net
        self.stages = STAGES[net]
        for name, tensor in read_weights(net, None if weights is None else Path(weights)).items():
            self.register_buffer(name.replace(".", "_"), tensor.float(), persistent=False)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)

    def forward(
        self,
        image: Frames,
        reference: Frames,
        mask: Bool[Tensor, "images height width"] | None = None,
    ) -> Float[Tensor, " images"]:
        """Return one distance per image.

        Args:
            image: RGB in [0, 1] or bytes, `[images 3 height width]` or another form that `videogpa.score` takes. The distance
                is differentiable in it.
            reference: What each image is compared with, of the same shape.
            mask: True for the pixels that count; all do without it.

        With a mask, masked-out pixels are taken as equal to the reference, and every layer's map of distances is averaged with
        the share of the mask under each of its cells as weight: exactly LPIPS where the mask is full, nan where it is empty.
        Features look beyond the mask's edge, so scattered small holes blur the distance (towards smaller).

        Raises:
            TooSmall: If the images are smaller than the network can look at.
            TypeError: If they are no images.
            ValueError: If they are not RGB in [0, 1], or of two sizes or devices.
        """
        image, reference = self._checked(image, reference)
        if mask is None:
            return torch.cat([_sum([m.mean((1, 2)) for m in maps]) for maps, _ in self._parts(image, reference)])
        image = torch.where(mask[:, None], image, reference)
        distances = []
        for maps, part in self._parts(image, reference):
            weights = [adaptive_avg_pool2d(mask[part].to(m), (m.shape[1], m.shape[2])) for m in maps]
            distances.append(_sum([(m * w).sum((1, 2)) / w.sum((1, 2)) for m, w in zip(maps, weights, strict=True)]))
        return torch.cat(distances)

    def spatial_map(self, image: Frames, reference: Frames) -> Float[Tensor, "images height width"]:
        """Return where the images differ: the layers' maps, enlarged bilinearly and added up. Its mean is LPIPS, nearly."""
        image, reference = self._checked(image, reference)
        size = list(image.shape[-2:])
        return torch.cat(
            [
                _sum([interpolate(m[:, None], size, mode="bilinear", align_corners=False)[:, 0] for m in maps])
                for maps, _ in self._parts(image, reference)
            ]
        )

    def _checked(self, image: Frames, reference: Frames) -> tuple[Tensor, Tensor]:
        """Return both as RGB in [0, 1], of one shape and on the device of the network."""
        a, b = as_frames(image, "image", keep_gradient=True), as_frames(reference, "reference", keep_gradient=True)
        if a.shape != b.shape:
            raise InvalidInput(f"image and reference: expected one shape, got {shape_text(a.shape)} and {shape_text(b.shape)}")
        here = self.get_buffer("shift").device
        if {a.device, b.device} != {here}:
            raise InvalidInput(f"image is on {a.device}, reference on {b.device}, Lpips on {here}: move them to one device")
        return a, b

    def _check_size(self, image: Tensor) -> None:
        least, size = LEAST[self.net], tuple(image.shape[-2:])
        if min(size) < least:
            raise TooSmall(
                f"images of {size[0]} x {size[1]} pixels are too small for LPIPS ({self.net}), which needs {least} each way; "
                "of a critic that resizes frames, raise the option `side`"
            )

    def _parts(self, image: Tensor, reference: Tensor) -> Iterator[tuple[list[Tensor], slice]]:
        """Yield the layers' maps of distances for a few images at a time, to bound the memory."""
        self._check_size(image)
        at_once = max(1, PIXELS_AT_ONCE // image[0, 0].numel())
        for start in range(0, len(image), at_once):
            part = slice(start, start + at_once)
            yield self._maps(image[part], reference[part]), part

    def _maps(self, image: Tensor, reference: Tensor) -> list[Tensor]:
        """Return the layers' maps of distances.

        On a CPU every image is looked at by one thread, on its own: what a convolution returns depends on how many threads
        share it, and threads that share one wait for each other where other programs run.
        """
        if image.device.type != "cpu" or image.requires_grad or reference.requires_grad:
            features = zip(self._features(image), self._features(reference), strict=True)
            return [self._map(layer, a, b) for layer, (a, b) in enumerate(features)]
        still = list(self._features(image[:1])) if image.stride(0) == 0 else None  # one picture, expanded

        def one(number: int) -> list[Tensor]:
            this = slice(number, number + 1)
            features = zip(still or self._features(image[this]), self._features(reference[this]), strict=True)
            return [self._map(layer, a, b) for layer, (a, b) in enumerate(features)]

        with one_thread():
            maps = parallel_map(one, range(len(image)))
        return [torch.cat(layer) for layer in zip(*maps, strict=True)]

    def _map(self, layer: int, a: Tensor, b: Tensor) -> Tensor:
        difference = (_unit(a) - _unit(b)).square()
        return conv2d(difference, self.get_buffer(f"lin{layer}_weight"))[:, 0]

    def _features(self, images: Tensor) -> Iterator[Tensor]:
        x = (2 * images - 1 - self.get_buffer("shift")) / self.get_buffer("scale")
        for stage in self.stages:
            if stage.pool is not None:
                x = max_pool2d(x, stage.pool, stride=2)
            for index, stride, padding in stage.convolutions:
                weight, bias = self.get_buffer(f"features_{index}_weight"), self.get_buffer(f"features_{index}_bias")
                x = relu(conv2d(x, weight, bias, stride=stride, padding=padding))
            yield x


def read_weights(net: Net, path: Path | None = None) -> dict[str, Tensor]:
    """Return the float16 weights of `net`: from `path`, or from where they ship, are cached, or can be fetched.

    Raises:
        MissingInput: If there is no such file, or it cannot be fetched.
        InvalidInput: If the weights are not those of LPIPS v0.1.
    """
    if path is None:
        path = SHIPPED / "lpips_alex_fp16.safetensors" if net == "alex" else find_vgg() or fetch_vgg()
    if kind_of_file(path) == "missing":
        raise MissingInput(f"no LPIPS weights at {path}")
    state = assemble_vgg(path) if path.suffix == ".pth" else read_tensors(path)
    state = {name: tensor.half() for name, tensor in state.items()}
    if content_digest(state) != CONTENT_SHA256[net]:
        raise InvalidInput(f"{path} does not hold the weights of LPIPS v0.1 for {net!r} (SHA-256 differs); delete it")
    return state


def content_digest(state: dict[str, Tensor]) -> str:
    """Return the SHA-256 of the names, shapes and values of float16 tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} {tuple(state[name].shape)} ".encode())
        digest.update(state[name].contiguous().numpy().astype("<f2", copy=False).tobytes())
    return digest.hexdigest()


def vgg_cache() -> Path:
    """Return where the assembled vgg weights are cached: under $XDG_CACHE_HOME, or ~/.cache.

    Raises:
        MissingInput: If neither is known.
    """
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        raise MissingInput(
            f"there is no home folder to cache the vgg weights of LPIPS in: set XDG_CACHE_HOME to a folder, or {VGG_VARIABLE} "
            "to the path of the weights"
        ) from None
    return caches / "videogpa" / "lpips_vgg_fp16.safetensors"


def find_vgg() -> Path | None:
    """Return the file the vgg weights would be read from, without fetching anything; None if there is none."""
    given = os.environ.get(VGG_VARIABLE)
    if given:
        return Path(given)
    return vgg_cache() if vgg_cache().is_file() else None


def fetch_vgg(url: str = VGG16_URL, sha256: str = VGG16_SHA256) -> Path:
    """Download torchvision's VGG16 (553 MB), keep its features with the shipped heads (29 MB) in the cache; return that file.

    Raises:
        MissingInput: If the download fails.
        InvalidInput: If what came is not the file that was asked for.
    """
    cache = vgg_cache()
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingInput(
            f"the vgg weights of LPIPS cannot be cached in {cache.parent} ({error.strerror}): set XDG_CACHE_HOME to a folder "
            f"that can be written to, or {VGG_VARIABLE} to the path of the weights; or use the alex network, which ships with "
            "the package"
        ) from None
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:  # beside the cache: the last step must be a rename
        checkpoint = Path(folder) / "vgg16.pth"
        received = _download(url, checkpoint)
        if received != sha256:
            raise InvalidInput(f"{url}: expected SHA-256 {sha256}, got {received}; try again")
        assembled = Path(folder) / cache.name
        save_file(assemble_vgg(checkpoint), assembled)
        assembled.replace(cache)
    return cache


def assemble_vgg(checkpoint: Path) -> dict[str, Tensor]:
    """Return torchvision's VGG16 features and the shipped linear heads, float16."""
    features = {name: tensor.half() for name, tensor in read_checkpoint(checkpoint).items() if name.startswith("features.")}
    return features | load_file(SHIPPED / "lpips_vgg_heads_fp16.safetensors")


def _download(url: str, path: Path) -> str:
    digest = hashlib.sha256()
    try:
        if not answers(url):
            raise OSError("its server does not answer")
        with urllib.request.urlopen(url, timeout=60) as response, path.open("wb") as file:
            while block := response.read(2**20):
                digest.update(block)
                file.write(block)
    except OSError as error:
        raise MissingInput(
            f"LPIPS with the vgg network needs {url}, which could not be fetched ({error}). "
            f"Fetch it on a machine that can, copy it here, and set {VGG_VARIABLE} to the path of the copy; "
            "or use the alex network, whose weights ship with the package."
        ) from None
    return digest.hexdigest()


def _unit(features: Tensor) -> Tensor:
    length: Tensor = features.square().sum(1, keepdim=True).sqrt()
    return features / (length + 1e-10)  # the authors' epsilon


def _sum(tensors: list[Tensor]) -> Tensor:
    return torch.stack(tensors).sum(0)

"""How far a score can be relied on: doubts about a clip, each of them a sentence of a fixed list, and the grade they add up to.

The doubts are read from numbers that critic and scorer have anyway, and from two that are measured here on the frames. How
often each occurs, and what the scores of such clips are worth, is in docs/science/critics.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from videogpa.maths.stats import standard_error
from videogpa.records import Reliability
from videogpa.scoring.reprojection import FrameErrors

Numbers = Mapping[str, float | int]


@dataclass(frozen=True)
class Doubt:
    """A reason to rely less on a score."""

    sentence: str
    applies: Callable[[Numbers], bool]
    """Whether the doubt exists, from the numbers of the row; a number that is not known is left out of them."""
    grave: bool = False
    """Whether the doubt alone makes the reliability low."""


LEAST_FOR_SE = 3  # frames: the spread of two says next to nothing

FEW_POINTS = 400
"""Gates ask for 200; clips of the default 25 frames have 440 and more."""

LOW_PARALLAX = 0.02
"""Of the width: of five real clips one has less, the others 3 to 14 %."""

LOW_COVERAGE = 0.8
"""As the gate of `sfm`, for critics that have none. Real clips have .96 and more."""

LITTLE_EXPLAINED = 0.3
"""Still real clips have .71 and more, real clips with moving subjects and clips that melt less than .1."""

BLURRED = 0.45
"""All 51 clips have .20 to .38, and the same clips blurred over 5 x 5 pixels .50 to .67."""

REPETITIVE = 0.5
"""25 clips have .42 and less, a brick wall .8 to 1."""

BARE = 0.45
"""The 51 clips have .38 and less, rooms of the miniature world with walls of one colour .54 and more."""

LITTLE_CONTRAST = 0.12
"""The 51 clips have .14 and more, rooms in fog .06 to .11, dark ones .05."""

LITTLE_STILL = 0.5
"""Where pixels are named: below .4 a clip is not scored."""

FEW_FRAMES = 5

BLUR_LENGTH = 9  # pixels, as in the paper
PATCHES_ACROSS, LEAST_SIDE, LEAST_PATCHES, MOST_PATCHES = 16, 8, 8, 24
TEXTURED, ALIKE = 0.03, 0.9  # change of brightness a pixel; correlation
FEATURELESS = 0.032  # change of brightness across a patch

DOUBTS: tuple[Doubt, ...] = (
    Doubt("only a part of the clip was scored", lambda n: n["partial"] > 0, grave=True),
    Doubt("the focal length was assumed", lambda n: n.get("focal_assumed", 0) > 0, grave=True),
    Doubt("the geometry explains no more than a still picture", lambda n: n.get("explained", 1) <= 0, grave=True),
    Doubt("the geometry explains little", lambda n: 0 < n.get("explained", 1) < LITTLE_EXPLAINED),
    Doubt("few points were found", lambda n: n.get("points", FEW_POINTS) < FEW_POINTS),
    Doubt("there is little parallax", lambda n: n.get("parallax", n["width"]) < LOW_PARALLAX * n["width"]),
    Doubt("other frames see little of a frame", lambda n: n["loo_coverage"] < LOW_COVERAGE),
    Doubt("the frames are blurred", lambda n: n["blur"] > BLURRED),
    Doubt("the texture repeats itself", lambda n: n.get("repetition", 0) > REPETITIVE),
    Doubt("much of the frame has no texture", lambda n: n.get("bare", 0) > BARE),
    Doubt("the frames have little contrast", lambda n: n.get("contrast", 1) < LITTLE_CONTRAST),
    Doubt("something is burnt into the picture", lambda n: n.get("overlay_share", 0) > 0),
    Doubt("most of the frame moves or is broken", lambda n: n.get("still_share", 1) < LITTLE_STILL),
    Doubt("few frames were judged", lambda n: n["frames"] < FEW_FRAMES),
)
"""All doubts, in the order in which a row names them. Reflections are none: no number tells them from moving things. Nor is an
error that differs between frames: of such clips the order was right more often, and `loo_error_se` says it."""


def reliability_of(numbers: Numbers) -> tuple[Reliability, tuple[str, ...]]:
    """Return how far a score can be relied on, and the doubts about it.

    Args:
        numbers: The numbers of a row by their column, with `partial` (1 for that status, else 0), `width` (of the frames that
            were compared, in pixels, which is the unit of `parallax`) and what `look_of` tells. Where pixels are named,
            `explained` is that of the background.

    Returns:
        `high` without a doubt, `low` with a grave one or three, else `medium`; and the doubts' sentences.
    """
    found = [doubt for doubt in DOUBTS if doubt.applies(numbers)]
    low = len(found) >= 3 or any(doubt.grave for doubt in found)
    return "low" if low else "medium" if found else "high", tuple(doubt.sentence for doubt in found)


def standard_errors(errors: FrameErrors) -> dict[str, float]:
    """Return `error_3dcs_se, loo_error_se`, as far as there are three frames or more to estimate each from."""
    judged = errors["loo_coverage"] > 0
    found = {
        "error_3dcs_se": (errors["mse"] + errors["lpips"], torch.ones_like(errors["mse"])),
        "loo_error_se": ((errors["loo_mse"] + errors["loo_lpips"])[judged], errors["loo_coverage"][judged]),
    }
    return {name: standard_error(*parts).item() for name, parts in found.items() if len(parts[0]) >= LEAST_FOR_SE}


def frame_numbers(frames: Float[Tensor, "frames 3 height width"]) -> dict[str, float]:
    """Return `blur` and, of frames that are not too small for it, `repetition` of the one in the middle."""
    repetition = repetition_of(frames[len(frames) // 2])
    return {"blur": blur_of(frames), **({} if repetition is None else {"repetition": repetition})}


def look_of(frames: Float[Tensor, "frames 3 height width"]) -> dict[str, float]:
    """Return what else of the frames gives rise to doubts; nothing where they are too small for it.

    `bare` is the share of the middle frame's patches that hardly vary in one direction or in both, `contrast` the deviation of
    the median frame's values.
    """
    patches = _patches_of(frames[len(frames) // 2])
    if patches is None:
        return {}
    variation = patches.shape[1] * _least_variation(patches).clamp(min=0).sqrt()
    return {
        "bare": float((variation < FEATURELESS).float().mean()),
        "contrast": float(frames.flatten(1).std(1).median()),
    }


def blur_of(frames: Float[Tensor, "frames 3 height width"]) -> float:
    """Return how blurred the median frame is, in [0, 1]: 0 for noise, 1 where further blurring takes nothing away.

    Crété-Roffet et al. 2007, "The Blur Effect": the share of the differences between neighbouring pixels that remains when the
    frame is blurred over nine pixels. Of the two directions the more blurred one counts. A frame of one colour has 1.
    """
    grey = frames.mean(1)
    return float(torch.maximum(_remaining(grey), _remaining(grey.movedim(1, 2))).median())


def _remaining(grey: Float[Tensor, "frames height width"]) -> Float[Tensor, " frames"]:
    blurred = avg_pool2d(grey[:, None], (1, BLUR_LENGTH), stride=1, padding=(0, BLUR_LENGTH // 2), count_include_pad=False)[
        :, 0
    ]
    before, after = (picture.diff(dim=2).abs() for picture in (grey, blurred))
    lost = (before - after).clamp(min=0).sum((1, 2))
    total = before.sum((1, 2))
    return torch.where(total > 0, 1 - lost / total, 1.0)


def repetition_of(frame: Float[Tensor, "3 height width"]) -> float | None:
    """Return the share of a frame's textured patches that another place of the frame resembles closely, in [0, 1].

    A patch is a sixteenth of the long side. It is textured if its brightness varies in both directions, unlike along an edge,
    and resembles another place if their normalised cross-correlation is above `ALIKE` more than a patch away. At most 24
    patches, spread over the frame, are looked for. 0 with hardly any texture;
    None if patches have fewer than eight pixels.
    """
    patches = _patches_of(frame)
    if patches is None:
        return None
    grey, side = frame.mean(0), patches.shape[1]
    height, width = grey.shape
    rows, columns = torch.meshgrid(torch.arange(height // side), torch.arange(width // side), indexing="ij")
    corners = side * torch.stack([rows.flatten(), columns.flatten()], 1).to(grey.device)
    textured = torch.nonzero(_least_variation(patches) > TEXTURED**2)[:, 0]
    if len(textured) < LEAST_PATCHES:
        return 0.0
    textured = textured[torch.linspace(0, len(textured) - 1, min(len(textured), MOST_PATCHES)).round().long()]
    alike = _resemblance(grey, patches[textured])
    places = torch.cartesian_prod(*(torch.arange(length, device=grey.device) for length in alike.shape[1:]))
    near = (places - corners[textured][:, None]).abs().amax(2) <= side
    return float((alike.flatten(1).masked_fill(near, -1).amax(1) > ALIKE).float().mean())


def _patches_of(frame: Float[Tensor, "3 height width"]) -> Float[Tensor, "patches side side"] | None:
    """Return the patches of a frame, row by row; None if they have fewer than eight pixels."""
    grey = frame.mean(0)
    side = max(grey.shape) // PATCHES_ACROSS
    if side < LEAST_SIDE or min(grey.shape) < 2 * side:
        return None
    return grey.unfold(0, side, side).unfold(1, side, side).reshape(-1, side, side)


def _least_variation(patches: Float[Tensor, "patches side side"]) -> Float[Tensor, " patches"]:
    """Return the smaller eigenvalue of every patch's structure tensor: the variation in the direction that has least of it."""
    down = patches.diff(dim=1)[:, :, 1:].flatten(1)
    across = patches.diff(dim=2)[:, 1:].flatten(1)
    yy, xx, xy = down.square().mean(1), across.square().mean(1), (down * across).mean(1)
    return (yy + xx) / 2 - (((yy - xx) / 2).square() + xy.square()).sqrt()


def _resemblance(
    grey: Float[Tensor, "height width"], patches: Float[Tensor, "patches side side"]
) -> Float[Tensor, "patches rows columns"]:
    """Return the normalised cross-correlation of patches with every place of a picture; 0 for places of half the contrast."""
    side = patches.shape[1]
    centred = patches - patches.mean((1, 2), keepdim=True)
    norms = centred.flatten(1).norm(dim=1)
    products = conv2d(grey[None, None], centred[:, None])[0]
    mean, square = (avg_pool2d(picture[None, None], side, stride=1)[0, 0] for picture in (grey, grey.square()))
    spread = ((square - mean.square()).clamp(min=0) * side**2).sqrt()
    comparable = spread > 0.5 * norms[:, None, None]  # of a plain place rounding alone would be compared
    alike: Tensor = torch.where(comparable, products / (norms[:, None, None] * spread), 0.0)
    return alike

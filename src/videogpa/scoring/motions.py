"""How much the camera moves and how much the subjects move, told apart by the names of the pixels."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool

from videogpa.scoring.dense_flow import DenseFlow, Flow, mean_around

OUTLINE = 5  # pixels across, around what does not stand still, in which the flow is a mixture of both
SMOOTH = 9  # pixels across which the flow of what stands still is averaged


def camera_and_subject_flow(
    flow: DenseFlow,
    judged: Sequence[int],
    still: Bool[np.ndarray, "judged height width"],
    moving: Bool[np.ndarray, "judged height width"],
) -> tuple[float, float] | None:
    """Measure the motion of the camera and that of the subjects apart, from each judged frame to the next.

    The camera's is the mean length of the flow of what stands still; a subject hides some of it, and there the flow of the
    nearest pixel that stands still is taken. The subjects' is by how much their flow differs from that, as a mean over all
    pixels: it falls if subjects slow down and also if they shrink or vanish.

    Args:
        flow: The flow between frames of the clip.
        judged: Which of its frames are judged, ascending.
        still: Their pixels that the static scene explains, at the size of the flow.
        moving: Their pixels that move by themselves.

    Returns:
        Both in image widths per judged frame, the unit of the column `flow`; None if no frame has a pixel that stands still.
    """
    found = []
    for place in range(len(judged) - 1):
        field = flow.between(judged[place], judged[place + 1])
        camera = _of_what_stands_still(field, still[place])
        if camera is not None:
            own = np.linalg.norm(field - camera, axis=-1) * moving[place]
            found.append((np.linalg.norm(camera, axis=-1).mean(), own.mean()))
    if not found:
        return None
    of_camera, of_subjects = np.mean(found, axis=0) / still.shape[-1]
    return float(of_camera), float(of_subjects)


def _of_what_stands_still(field: Flow, still: Bool[np.ndarray, "height width"]) -> Flow | None:
    """Return the flow, and in place of what does not stand still that of the nearest pixel that does; None if there is none."""
    certain = cv2.erode(still.astype(np.uint8), np.ones((OUTLINE, OUTLINE), np.uint8))
    if not certain.any():
        return None
    weight = mean_around(certain, SMOOTH)
    smooth = np.stack([mean_around(part * certain, SMOOTH) for part in np.moveaxis(field, -1, 0)], axis=-1)
    smooth /= np.maximum(weight, 1e-6)[..., None]
    _, label = cv2.distanceTransformWithLabels(1 - certain, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    places = np.zeros(label.max() + 1, np.int64)
    places[label[certain > 0]] = np.flatnonzero(certain)
    nearest = smooth.reshape(-1, 2)[places[label]]
    filled: Flow = np.where(still[..., None], field, nearest).astype(np.float32)
    return filled

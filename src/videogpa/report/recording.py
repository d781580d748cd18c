"""A clip's reconstruction as a recording of rerun (https://rerun.io): cloud, cameras, and what every frame is judged by.

Rerun is an extra of the package. It is imported here alone, and not before a recording is written.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from videogpa.errors import UserError
from videogpa.maths.cameras import camera_centers, invert
from videogpa.measures import MEASURES
from videogpa.reconstruction import Reconstruction
from videogpa.records import Score
from videogpa.report.panels import error_colors
from videogpa.report.player_files import ERROR_SCALE
from videogpa.scoring.point_cloud import cloud_of
from videogpa.scoring.reprojection import Render, error_maps
from videogpa.storage.files import atomic_path
from videogpa.text_files import printable

MAPS = ("frame", "render", "error", "depth", "confidence")
"""What is seen of every frame over time, each at an entity of its own."""

TIMELINE = "frame"
"""Counts the frames that have a camera, from 1."""

MOST_POINTS = 1_000_000
"""How many points of the cloud a recording holds, evenly chosen: 16 bytes each."""

_QUALITY = 92  # of JPEG
_UNCOVERED = 0.6  # the grey of pixels that no other frame covers
_FACTS = ("status", "reason", "loo_error", "flow", "loo_coverage", "motion", "error_3dcs", "frames")


def require_rerun() -> None:
    """Check that rerun is installed, before a clip is scored for it.

    Raises:
        UserError: If it is not; the message says how it is installed.
    """
    try:
        import rerun  # noqa: F401
    except ImportError:
        raise UserError("`videogpa view` shows clips in rerun, which is not installed: pip install 'videogpa[view]'") from None


def write_recording(path: Path, row: Score, reconstruction: Reconstruction, render: Render) -> None:
    """Write a clip's reconstruction into a file that rerun opens, whole or not at all. Nothing is started or sent.

    Args:
        path: The file, by custom `.rrd`.
        row: The clip's score; its name and numbers stand in the recording.
        reconstruction: The frames that are shown.
        render: The leave-one-out render of those frames.

    Raises:
        UserError: If rerun is not installed.
        ReconstructionFailed: If the reconstruction has fewer than two frames, or no usable point.
    """
    require_rerun()
    import rerun

    with atomic_path(path) as temporary:
        recording = rerun.RecordingStream("videogpa", recording_id=row.clip, send_properties=False)
        recording.save(temporary, default_blueprint=_blueprint())
        try:
            for entity, parts in _still(row, reconstruction).items():
                for part in parts:
                    recording.log(entity, part, static=True)
            for number, entities in enumerate(_over_time(reconstruction, render), start=1):
                recording.set_time(TIMELINE, sequence=number)
                for entity, part in entities:
                    recording.log(entity, part)
        finally:
            recording.disconnect()  # ends the file


def _still(row: Score, reconstruction: Reconstruction) -> dict[str, list[Any]]:
    """Return what does not change over time, by entity."""
    import rerun

    cloud = cloud_of(reconstruction)
    kept = torch.linspace(0, len(cloud.points) - 1, min(len(cloud.points), MOST_POINTS)).round().long()
    points = rerun.Points3D(_array(cloud.points[kept]), colors=_bytes(cloud.colors[kept]), radii=rerun.Radius.ui_points(1.5))
    entities: dict[str, list[Any]] = {
        "about": [rerun.TextDocument(_about(row), media_type="text/markdown")],
        "world": [rerun.ViewCoordinates.RDF],
        "world/cloud": [points],
        "world/path": [rerun.LineStrips3D([_array(camera_centers(reconstruction.camera_from_world))], colors=[[236, 120, 48]])],
    }
    for i, picture in enumerate(reconstruction.images):
        pose, pinhole = _camera(reconstruction, i)
        entities[f"world/cameras/{i + 1}"] = [pose]
        entities[f"world/cameras/{i + 1}/frame"] = [pinhole, _picture(picture)]
    return entities


def _over_time(reconstruction: Reconstruction, render: Render) -> Iterator[list[tuple[str, Any]]]:
    """Yield what is shown at each frame."""
    import rerun

    errors = error_maps(reconstruction, render)
    highest = float(reconstruction.confidence.max())
    for i, picture in enumerate(reconstruction.images):
        pose, pinhole = _camera(reconstruction, i)
        covered = render.covered[i]
        yield [
            ("world/now", pose),
            ("world/now/view", pinhole),
            ("frame", _picture(picture)),
            ("render", _picture(_uncovered_grey(render.images[i], covered))),
            ("error", _picture(_uncovered_grey(error_colors(errors[i].cpu()), covered))),
            ("depth", rerun.DepthImage(_array(reconstruction.depth[i]), meter=1.0)),
            (
                "confidence",
                rerun.DepthImage(_array(reconstruction.confidence[i]), depth_range=[0, highest], colormap="viridis"),
            ),
            ("plot/error", rerun.Scalars(_rms(errors[i], covered))),
        ]


def _blueprint() -> Any:
    """Return how the viewer is laid out: the world on the left, what is seen of the current frame on the right."""
    import rerun.blueprint as layout

    maps = [layout.Spatial2DView(origin=name, name=name) for name in MAPS]
    about = layout.TextDocumentView(origin="about", name="about")
    curve = layout.TimeSeriesView(origin="plot", name="error over time")
    world = layout.Vertical(layout.Spatial3DView(origin="world", name="cloud and cameras"), curve, row_shares=[4, 1])
    return layout.Blueprint(
        layout.Horizontal(world, layout.Grid(*maps, about, grid_columns=2), column_shares=[3, 2]),
        layout.TimePanel(state="collapsed", timeline=TIMELINE, fps=4.0),
        collapse_panels=True,
    )


def _camera(reconstruction: Reconstruction, frame: int) -> tuple[Any, Any]:
    """Return where a camera stands in the world, and how it projects."""
    import rerun

    height, width = reconstruction.images.shape[-2:]
    pose = _array(invert(reconstruction.camera_from_world[frame]))
    intrinsics = reconstruction.intrinsics[frame].clone()
    intrinsics[:2, 2] += 0.5  # rerun counts pixels from the edge of the picture, we from the centre of the first one
    pinhole = rerun.Pinhole(
        image_from_camera=_array(intrinsics),
        resolution=[width, height],
        camera_xyz=rerun.ViewCoordinates.RDF,
        image_plane_distance=_plane(reconstruction),
    )
    return rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]), pinhole


def _plane(reconstruction: Reconstruction) -> float:
    """Return how far before a camera its picture is drawn: some of the way of the cameras, and never near the points."""
    centers = camera_centers(reconstruction.camera_from_world)
    known = reconstruction.depth[reconstruction.depth > 0]
    depth = float(known.median()) if len(known) else 1.0
    return min(max(0.2 * float((centers - centers[0]).norm(dim=1).max()), 0.03 * depth), 0.12 * depth)


def _picture(picture: Float[Tensor, "3 height width"]) -> Any:
    import rerun

    return rerun.Image(_bytes(picture.movedim(0, -1))).compress(jpeg_quality=_QUALITY)


def _uncovered_grey(picture: Float[Tensor, "3 height width"], covered: Bool[Tensor, "height width"]) -> Tensor:
    return torch.where(covered.to(picture.device), picture, _UNCOVERED)


def _rms(error: Float[Tensor, "height width"], covered: Bool[Tensor, "height width"]) -> float:
    return float(error[covered].square().mean().sqrt()) if bool(covered.any()) else 0.0


def _about(row: Score) -> str:
    """Return the clip's numbers as Markdown; names are quoted as code in one line, so that nothing in them is Markdown."""
    found: Mapping[str, Any] = row.model_dump()
    lines = [f"- {_label(name)}: `{_shown(found[name])}`" for name in _FACTS if found[name] is not None]
    legend = f"error: dark is none, bright {ERROR_SCALE} and more; grey is covered by no other frame"
    return "\n".join([f"`{_shown(row.clip)}` by the critic `{row.critic}`", "", *lines, "", legend])


def _label(name: str) -> str:
    return MEASURES[name].label if name in MEASURES else name


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else printable(str(value), line=True).replace("`", "'")


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()


def _bytes(colors: Tensor) -> Any:
    return (colors.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()

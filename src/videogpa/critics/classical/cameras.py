"""Cameras and sparse points of a clip by structure from motion: COLMAP's mappers, set up to be bitwise reproducible.

Pan et al. 2024, "Global Structure-from-Motion Revisited" (the global mapper); Schoenberger & Frahm 2016, "Structure-from-Motion
Revisited" (the incremental one). All frames share one camera: focal length unknown, principal point in the middle, no
distortion.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from jaxtyping import Float64, Int

from videogpa.critics.classical.features import MIN_MATCHES, Features, PairMatches, colmap_keypoints
from videogpa.temporary import temporary_folder

_SMALL_ANGLE = 0.5
"""Degrees. Clips of a few seconds have less parallax than COLMAP's photo collections: with its defaults (1.5 to 16 degrees)
9 of 10 real clips and 9 of 19 generated ones are registered, with this value 10 of 10 and 12 of 19."""

_TRACKS_PER_VIEW = 200
"""The global mapper's first estimate needs no more tracks than this; the others join by triangulation before the
last adjustment. Focal lengths of 5 real clips stay within 2 %, and its time falls from 5 to 2 s a clip."""

_ROUNDS, _STEPS = 1, 50
"""Rounds and steps of the global mapper's bundle adjustment; COLMAP's defaults are 3 rounds of up to 200 steps."""

_GUESSED_FOCAL = 1.2
"""Initial focal length in long sides of a frame: COLMAP's `default_focal_length_factor`. The mapper refines it."""

_ASSUMED_FOCAL = 0.72
"""Focal length in long sides where none can be estimated: that of a phone's main camera, 26 mm at 36 mm of film. Five real
clips have .42 to .69. A wrong value raises the score: with 1.2 instead of their own the leave-one-out scores of four of them
were 1.1 to 4.9 times as high; with this value, those of the two worst were 2.1 and 1.2 times as high."""


@dataclass(frozen=True, eq=False)
class SparseModel:
    """Cameras of the registered frames, and the sparse points. The world's origin, axes and unit are arbitrary.

    `intrinsics` are in pixels of the frames whose features were matched (integer = pixel centre). `visible[frame]` holds the
    indices of the points visible in that frame, at least 15 of them in front of it; every frame with a camera has them.
    `track_length` is the mean number of frames that observe a point.
    `focal_assumed` is true if the focal length is a typical one, not estimated from the clip.
    """

    focal_widths: float
    intrinsics: Float64[np.ndarray, "3 3"]
    camera_from_world: dict[int, Float64[np.ndarray, "4 4"]]
    points: Float64[np.ndarray, "points 3"]
    visible: dict[int, Int[np.ndarray, " visible"]]
    track_length: float
    focal_assumed: bool = False


def guessed_camera(height: int, width: int, *, focal: float = _GUESSED_FOCAL) -> Any:
    """Return a pycolmap camera for frames of this size in pixels; `focal` is the focal length in long sides of a frame."""
    return pycolmap.Camera.create_from_model_name(1, "SIMPLE_PINHOLE", focal * max(height, width), width, height)


def find_cameras(
    features: Sequence[Features],
    pairs: Sequence[PairMatches],
    *,
    height: int,
    width: int,
    mapper: str,
    assume_focal: bool = False,
) -> SparseModel | None:
    """Estimate cameras and sparse points of a clip.

    The same input gives the same bits: one thread, fixed seeds, images numbered by time. The function writes to a temporary
    folder, since COLMAP's mappers read their input from a database file.

    Args:
        features: Keypoints and descriptors of every frame, in order of time.
        pairs: Verified matches between frames.
        height: Height in pixels of the frames whose features these are.
        width: Their width.
        mapper: "global" or "incremental".
        assume_focal: Whether to keep the focal length at 0.72 long sides; else it is estimated with the cameras.

    Returns:
        The model with the most frames, then the most points; None if the mapper finds no model.
    """
    pycolmap.logging.minloglevel = 3  # "fatal" only: messages of a mapper would break a progress bar
    with temporary_folder() as folder:
        database = folder / "matches.db"
        focal = _ASSUMED_FOCAL if assume_focal else _GUESSED_FOCAL
        _write(database, features, pairs, guessed_camera(height, width, focal=focal))
        run = {"global": _run_global, "incremental": _run_incremental}[mapper]
        models = run(database, folder, not assume_focal)
    whole = [model for model in models.values() if model.num_reg_images() > 0 and model.num_points3D() > 0]
    found = [_sparse(model, assume_focal) for model in whole]
    return max(found, key=lambda model: (len(model.camera_from_world), len(model.points)), default=None)


def _write(database: Path, features: Sequence[Features], pairs: Sequence[PairMatches], camera: Any) -> None:
    """Write features and matches into COLMAP's database. Image i + 1 is frame i."""
    with pycolmap.Database.open(database) as table:
        camera_id = table.write_camera(camera)
        rig = pycolmap.Rig()
        rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, camera_id))
        rig_id = table.write_rig(rig)
        for index, feature in enumerate(features):
            image = pycolmap.Image(name=f"{index:06d}", camera_id=camera_id, image_id=index + 1)
            table.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(rig_id=rig_id)
            frame.add_data_id(image.data_id)
            table.write_frame(frame)
            table.write_keypoints(index + 1, colmap_keypoints(feature).astype(np.float32))
        for pair in pairs:
            table.write_matches(pair.first + 1, pair.second + 1, pair.matches)
            table.write_two_view_geometry(pair.first + 1, pair.second + 1, pair.geometry)


def _run_global(database: Path, folder: Path, refine_focal: bool) -> Any:
    options = pycolmap.GlobalPipelineOptions(num_threads=1, random_seed=0)
    mapper = options.mapper
    mapper.num_threads, mapper.random_seed = 1, 0
    mapper.rotation_averaging.random_seed = 0
    mapper.global_positioning.random_seed = 0
    mapper.retriangulation.random_seed = 0
    mapper.global_positioning.use_gpu = False
    mapper.track_required_tracks_per_view = _TRACKS_PER_VIEW
    mapper.bundle_adjustment.refine_focal_length = refine_focal
    mapper.min_tri_angle_deg = mapper.retriangulation.min_angle = _SMALL_ANGLE
    adjustment = mapper.bundle_adjustment.ceres
    adjustment.use_gpu = False
    adjustment.solver_options.num_threads = 1
    mapper.ba_num_iterations, adjustment.solver_options.max_num_iterations = _ROUNDS, _STEPS
    return pycolmap.global_mapping(database, folder, folder, options)


def _run_incremental(database: Path, folder: Path, refine_focal: bool) -> Any:
    options = pycolmap.IncrementalPipelineOptions(num_threads=1, random_seed=0, min_model_size=3, multiple_models=False)
    options.extract_colors = False
    options.init_num_trials = 30  # not 200: a usable initial pair is among the first or absent, and failing took 9 s
    options.ba_local_max_refinements, options.ba_local_max_num_iterations = 1, 15
    options.ba_global_max_refinements, options.ba_global_max_num_iterations = 2, 30
    options.ba_local_function_tolerance = options.ba_global_function_tolerance = 1e-6
    options.ba_global_frames_ratio = options.ba_global_points_ratio = 1.4
    mapper = options.mapper
    options.ba_refine_focal_length = mapper.abs_pose_refine_focal_length = refine_focal
    mapper.num_threads, mapper.random_seed = 1, 0
    # Clips move little, and generated ones have few matches: these limits and angles register 2 more of 19 generated clips.
    mapper.init_min_tri_angle, mapper.init_min_num_inliers, mapper.init_max_forward_motion = 2.0, 50, 0.999
    mapper.abs_pose_min_num_inliers, mapper.abs_pose_min_inlier_ratio = 15, 0.15
    mapper.filter_min_tri_angle = mapper.ba_local_min_tri_angle = _SMALL_ANGLE
    options.triangulation.random_seed, options.triangulation.min_angle = 0, _SMALL_ANGLE
    # The mapper keeps the database open, so that it gets a copy; the original stays free.
    return pycolmap.incremental_mapping(shutil.copy(database, folder / "incremental.db"), folder, folder, options)


def _sparse(model: Any, focal_assumed: bool) -> SparseModel:
    """Return the cameras and points of a COLMAP model."""
    camera = next(iter(model.cameras.values()))
    focal = camera.focal_length
    intrinsics = np.array([[focal, 0, camera.principal_point_x - 0.5], [0, focal, camera.principal_point_y - 0.5], [0, 0, 1]])
    index_of = {point_id: index for index, point_id in enumerate(sorted(model.points3D))}
    points = np.array([model.points3D[point_id].xyz for point_id in index_of])
    poses, visible = {}, {}
    for image_id in sorted(model.reg_image_ids()):
        image = model.images[image_id]
        pose = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        seen = sorted({index_of[point.point3D_id] for point in image.points2D if point.has_point3D()})
        in_front = points[seen] @ pose[2, :3] + pose[2, 3] > 0
        if in_front.sum() < MIN_MATCHES:
            continue  # a camera estimated from fewer points is unreliable: the frame counts as one without a camera
        poses[image_id - 1], visible[image_id - 1] = pose, np.array(seen, np.int64)
    return SparseModel(
        focal_widths=focal / camera.width,
        intrinsics=intrinsics,
        camera_from_world=poses,
        points=points,
        visible=visible,
        track_length=model.compute_mean_track_length(),
        focal_assumed=focal_assumed,
    )

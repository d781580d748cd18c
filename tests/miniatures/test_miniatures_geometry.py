from dataclasses import replace
from pathlib import Path

import pytest
import torch
from miniatures.fit import Budget
from miniatures.geometry import METRES, build_geometry, geometry_loss, train_geometry, training_views
from miniatures.geometry_check import check_geometry
from miniatures.plan import Plan

from videogpa.bundled import bundled_folder
from videogpa.critics.networks.pose import decode_cameras, encode_cameras
from videogpa.critics.networks.vggt import Vggt, VggtConfig
from videogpa.critics.vggt import VggtCritic
from videogpa.maths.cameras import project, unproject

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SIZES = VggtConfig(
    embed_dim=32,
    vit_depth=1,
    depth=4,
    num_heads=2,
    img_size=28,
    num_register_tokens=1,
    dpt_layers=(0, 1, 2, 3),
    dpt_features=16,
    dpt_out_channels=(16, 16, 16, 16),
    camera_trunk_depth=1,
    camera_heads=2,
)
SMALL = Plan(geometry=SIZES, geometry_batch=2)


def test_the_truth_it_is_shown_agrees_with_itself() -> None:
    """Points of one frame fall onto the surfaces that another frame sees, but where something is in front of them."""
    views = training_views(SMALL, 3, CPU)
    side = views.depth.shape[-1]
    encoding = encode_cameras(views.camera_from_first, views.field)
    cameras, _ = decode_cameras(encoding, side, side)
    torch.testing.assert_close(cameras, views.camera_from_first[..., :3, :], atol=1e-5, rtol=0)
    focal = side / 2 / torch.tan(torch.tensor(views.field / 2))
    camera = torch.tensor([[focal, 0, (side - 1) / 2], [0, focal, (side - 1) / 2], [0, 0, 1]])
    points = unproject(views.depth[0, :1], camera[None], views.camera_from_first[0, :1])
    for frame in range(1, views.depth.shape[1]):
        pixels, far = project(points.reshape(-1, 3), camera, views.camera_from_first[0, frame])
        inside = ((pixels > 0) & (pixels < side - 1)).all(-1) & (far > 0)
        u, v = pixels[inside].round().long().unbind(-1)
        seen = views.depth[0, frame, v, u] / far[inside]
        assert ((seen - 1).abs() < 0.1).float().mean() > 0.75
        assert (
            (seen > 1.1).float().mean() < 0.03
        )  # half a pixel of a slanted floor is 5 %; nearer is something in front; farther would be a hole in a surface
    assert 1 / METRES < float(views.depth.median()) < 10 / METRES


def test_batches_follow_from_the_step_and_show_every_number_of_frames() -> None:
    again = training_views(SMALL, 5, CPU)
    torch.testing.assert_close(training_views(SMALL, 5, CPU).images, again.images, rtol=0, atol=0)
    counts = {training_views(replace(SMALL, geometry_batch=1), step, CPU).images.shape[1] for step in range(40)}
    assert counts == set(range(3, 10))


def test_training_lowers_the_loss_of_cameras_and_depth_alike(tmp_path: Path) -> None:
    views = training_views(SMALL, 0, CPU)
    before = geometry_loss(build_geometry(SMALL), views).detach()
    train_geometry(SMALL, tmp_path, Budget(40), CPU)
    model = Vggt.from_folder(tmp_path / "vggt", heads=("camera", "depth"))
    assert float(geometry_loss(model, views)) < float(before) - 0.3
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    size = (tmp_path / "vggt" / "model.safetensors").stat().st_size
    assert size == pytest.approx(2 * sum(p.numel() for p in model.parameters()), rel=0.2)  # float16, and the names


def test_the_one_that_ships_is_as_good_as_its_page_says(tmp_path: Path) -> None:
    """On ten of the sixty scenes of docs/science/miniatures.md, one for each path; of no training and no recipe."""
    found = check_geometry(replace(SMALL, failures=("vanish",)), bundled_folder("tiny:vggt"), tmp_path, scenes=10)
    assert found["depth_error"] < 0.1
    assert found["rotation_error"] < 3
    assert found["scored"] == 1
    assert found["turning_declined"] == 1
    assert found["error_3dcs_auc_vanish"] > 0.8
    critic = VggtCritic("tiny:vggt", device="cpu")
    assert critic.details == {"weights": "tiny:vggt", "crop": "whole", "points": "depth", "side": "64"}

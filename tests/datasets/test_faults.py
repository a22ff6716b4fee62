"""Faults of sensors: each does what it says, and nothing that the network is told changes."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.transforms import (
    DelayCameras,
    DelayLidar,
    LimitLidar,
    LoadCameras,
    LoadSweeps,
    LoadThinnedSweeps,
    MiscalibrateCameras,
    SpoilImages,
)
from perception.geometry import invert, rigid, rotation_z, transform_points


@pytest.fixture
def entry(small_infos) -> dict[str, Any]:
    return NuScenesFusionDataset(str(small_infos), min_lidar_points=0)[0]


def moving_car(tmp_path, count: int = 5) -> tuple[dict[str, Any], np.ndarray]:
    """An entry whose car drives 1 m forward (x) and turns 0.02 rad per 50 ms, past one wall of points; and the wall."""
    wall = np.random.default_rng(0).uniform(-20, 20, size=(50, 3))
    poses = [rigid([-1.0 * k, 0, 0], rotation_z(-0.02 * k)) for k in range(count + 1)]
    for k, pose in enumerate(poses):
        points = np.zeros((50, 5), np.float32)
        points[:, :3] = transform_points(invert(pose), wall)
        points.tofile(tmp_path / f"{k}.bin")
    sweeps = [
        {
            "timestamp": 10.0 - 0.05 * k,
            "lidar_points": {"lidar_path": str(tmp_path / f"{k}.bin"), "lidar2sensor": invert(poses[k]) @ poses[0]},
        }
        for k in range(1, count + 1)
    ]
    entry = {"timestamp": 10.0, "lidar_points": {"lidar_path": str(tmp_path / "0.bin")}, "lidar_sweeps": sweeps}
    return entry, wall


def test_late_lidar_shows_the_world_from_where_the_car_was(tmp_path) -> None:
    entry, wall = moving_car(tmp_path)
    load = LoadSweeps(sweeps=2, remove_close_m=0.0)
    now = load(dict(entry))["points"]
    np.testing.assert_allclose(now[:, :3], np.tile(wall, (3, 1)), atol=1e-4)
    late = load(DelayLidar(0.1)(dict(entry)))["points"]
    then = rigid([-2.0, 0, 0], rotation_z(-0.04))
    np.testing.assert_allclose(late[:, :3], np.tile(transform_points(invert(then), wall), (3, 1)), atol=1e-4)
    np.testing.assert_allclose(np.unique(late[:, 4]), [0, 0.05, 0.1], atol=1e-6)  # the network sees no delay
    assert len(load(DelayLidar(0.0)(dict(entry)))["points"]) == len(now)


def test_late_cameras_are_off_by_the_cars_motion(tmp_path) -> None:
    entry, _ = moving_car(tmp_path)
    entry["camera_from_lidar"] = np.stack([np.eye(4)])
    for delay_s, turn, shift in ((0.1, 0.04, 2.0), (0.025, 0.01, 0.5)):
        told = DelayCameras(delay_s)(dict(entry))["camera_from_lidar"][0]
        assert Rotation.from_matrix(told[:3, :3]).magnitude() == pytest.approx(turn, rel=1e-3)
        assert np.linalg.norm(told[:3, 3]) == pytest.approx(shift, rel=1e-2)
    # A point that the older image would show ahead of where it is now shows behind: the same error, mirrored.
    assert told[0, 3] < 0


def test_a_sector_is_about_the_vehicles_forward_axis() -> None:
    # A LiDAR mounted turned by 90 degrees: its y is the vehicle's x.
    lidar = {"lidar2ego": rigid(np.zeros(3), rotation_z(-math.pi / 2))}
    angles = np.radians(np.arange(-179.5, 180))
    ego = np.stack((np.cos(angles), np.sin(angles), np.zeros_like(angles)), axis=1) * 10
    points = np.zeros((360, 5), np.float32)
    points[:, :3] = transform_points(invert(lidar["lidar2ego"]), ego)
    kept = LimitLidar(60.0)({"points": points, "lidar_points": lidar})["points"]
    assert len(kept) == 120
    assert (kept[:, 1] > 10 * math.cos(math.radians(60)) - 1e-3).all()


def test_thinned_sweeps_keep_whole_beams(entry) -> None:
    entry = dict(entry)
    full = LoadSweeps(sweeps=0)(dict(entry))["points"]
    raw = np.fromfile(entry["lidar_points"]["lidar_path"], np.float32).reshape(-1, 5)
    thin = LoadThinnedSweeps(ring_step=4, sweeps=0)(dict(entry))["points"]
    np.testing.assert_array_equal(thin[:, :4], raw[raw[:, 4] % 4 == 0][:, :4])
    assert 0 < len(thin) <= len(full)
    entry["lidar_points"] = {**entry["lidar_points"], "num_pts_feats": 4}
    with pytest.raises(ValueError, match="ring"):
        LoadThinnedSweeps(ring_step=4, sweeps=0)(entry)


def test_mountings_are_wrong_by_so_much_and_always_alike(entry) -> None:
    right = LoadCameras()(dict(entry))["camera_from_lidar"]
    wrong = MiscalibrateCameras(1.0, 0.05)(LoadCameras()(dict(entry)))["camera_from_lidar"]
    again = MiscalibrateCameras(1.0, 0.05)(LoadCameras()(dict(entry)))["camera_from_lidar"]
    np.testing.assert_array_equal(wrong, again)
    errors = wrong @ np.linalg.inv(right)
    turns = Rotation.from_matrix(errors[:, :3, :3])
    np.testing.assert_allclose(np.degrees(turns.magnitude()), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(errors[:, :3, 3], axis=1), 0.05, atol=1e-9)
    assert len(np.unique(errors[:, 0, 1].round(9))) == len(errors)  # each camera in its own direction


def test_spoilt_images(entry) -> None:
    clean = LoadCameras()(dict(entry))["camera_images"]
    black = SpoilImages(exposure=0.0)(LoadCameras()(dict(entry)))
    assert all((image == 0).all() for image in black["camera_images"]) and black["camera_mask"].all()
    bright = SpoilImages(exposure=4.0)(LoadCameras()(dict(entry)))["camera_images"]
    for before, after in zip(clean, bright, strict=True):
        np.testing.assert_array_equal(after, np.minimum(before.astype(int) * 4, 255))
    blurred = SpoilImages(blur_px=8.0)(LoadCameras()(dict(entry)))["camera_images"]
    for before, after in zip(clean, blurred, strict=True):
        assert after.std() < before.std() and abs(float(after.mean()) - float(before.mean())) < 1.0

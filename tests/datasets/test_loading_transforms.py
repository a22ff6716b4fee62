"""LoadSweeps and LoadCameras: the same world from every sweep, the same pixels at every decoding size."""

import numpy as np
import pytest
from small_dataroot import (
    CAMERA_TURNS,
    INTRINSICS,
    LANDMARKS,
    LIDAR_POSE,
    ego_pose,
    landmark_pixels,
    matrix,
    world_landmarks,
)

from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.transforms import LoadCameras, LoadSweeps
from perception.geometry import compose_image_from_lidar, project


@pytest.fixture(scope="module")
def dataset(small_infos):
    return NuScenesFusionDataset(str(small_infos), test_mode=True)


def test_compensated_sweeps_fall_on_the_key_sweep(dataset):
    points = LoadSweeps(sweeps=4)(dataset[1])["points"]
    count = len(LANDMARKS)
    assert points.dtype == np.float32 and points.shape == (
        count + 1 + 4 * count,
        5,
    )  # ego returns stay in the key sweep
    pose = matrix(*ego_pose(0.2)) @ matrix(*LIDAR_POSE)
    expected = (world_landmarks() - pose[:3, 3]) @ pose[:3, :3]
    np.testing.assert_allclose(points[:count, :3], expected, atol=1e-4)
    for i in range(4):
        sweep = points[count + 1 + i * count :][:count]
        np.testing.assert_allclose(sweep[:, :3], expected, atol=1e-3)
        np.testing.assert_allclose(sweep[:, 4], 0.05 * (i + 1), atol=1e-5)
        np.testing.assert_array_equal(sweep[:, 3], 10.0 * np.arange(count))
    assert (points[: count + 1, 4] == 0).all()


def test_fewer_sweeps_take_the_newest_and_a_first_frame_has_none(dataset):
    assert np.unique(LoadSweeps(sweeps=2)(dataset[1])["points"][:, 4]).tolist() == pytest.approx(
        [0, 0.05, 0.1], abs=1e-5
    )
    assert len(LoadSweeps(sweeps=9)(dataset[0])["points"]) == len(LANDMARKS) + 1
    with_ego = LoadSweeps(sweeps=4, remove_close_m=0)(dataset[1])["points"]
    assert len(with_ego) == 5 * (len(LANDMARKS) + 1)


def test_an_empty_sweep_is_fine_and_a_damaged_one_is_named(dataset, tmp_path):
    empty = dataset[1]
    (tmp_path / "empty.pcd.bin").touch()
    empty["lidar_points"].update(lidar_path=str(tmp_path / "empty.pcd.bin"), bytes=0)
    results = LoadSweeps(sweeps=0)(empty)
    assert results["points"].shape == (0, 5) and results["lidar_mask"]
    (tmp_path / "cut.pcd.bin").write_bytes(bytes(41))
    for name, error in (("cut", ValueError), ("gone", FileNotFoundError)):
        broken = dataset[1]
        broken["lidar_sweeps"][1]["lidar_points"]["lidar_path"] = str(tmp_path / f"{name}.pcd.bin")
        with pytest.raises(error, match=name):
            LoadSweeps(sweeps=4)(broken)


@pytest.mark.parametrize("min_hw", [None, (120, 200), (60, 100), (30, 50)])
def test_landmarks_project_onto_their_pixels_at_every_decoding_size(dataset, min_hw):
    results = LoadCameras(cameras=("CAM_BACK", "CAM_FRONT"), min_hw=min_hw)(dataset[1])
    assert results["camera_mask"].tolist() == [True, True]
    np.testing.assert_allclose(results["camera_age_s"], [-0.02, 0.01], atol=1e-5)
    for i, (channel, time_s) in enumerate((("CAM_BACK", 0.22), ("CAM_FRONT", 0.19))):
        matrix_i = compose_image_from_lidar(
            results["camera_from_lidar"][i], results["intrinsics"][i], results["image_aug"][i]
        )
        pose = matrix(*ego_pose(0.2)) @ matrix(*LIDAR_POSE)
        pixels, depth = project(matrix_i, (world_landmarks() - pose[:3, 3]) @ pose[:3, :3])
        expected, expected_depth = landmark_pixels(channel, time_s)
        factor = 240 // len(results["camera_images"][i])
        seen = expected_depth > 0
        np.testing.assert_allclose(pixels[seen] * factor + (factor - 1) / 2, expected[seen], atol=1e-3)
        np.testing.assert_allclose(depth, expected_depth, atol=1e-6)


def test_cameras_that_are_missing_are_masked_or_refused(dataset, tmp_path):
    results = LoadCameras(cameras=("CAM_FRONT", "CAM_LEFT"))(dataset[0])
    assert results["camera_mask"].tolist() == [True, False] and results["camera_images"][1] is None
    np.testing.assert_array_equal(results["camera_from_lidar"][1], np.eye(4))

    lost = dataset[0]
    lost["images"]["CAM_BACK"]["img_path"] = str(tmp_path / "lost.jpg")
    assert LoadCameras(skip_missing=True)(lost)["camera_mask"].tolist() == [False, True]
    with pytest.raises(FileNotFoundError, match=r"lost\.jpg"):
        LoadCameras()(lost)

    blind = dataset[0]
    blind["images"] = {}
    assert LoadCameras(cameras=tuple(CAMERA_TURNS))(blind)["camera_mask"].tolist() == [False, False]


def test_an_image_of_another_size_than_its_calibration_is_refused(dataset):
    info = dataset[0]
    assert info["images"]["CAM_FRONT"]["cam2img"].tolist() == INTRINSICS.tolist()
    info["images"]["CAM_FRONT"].update(width=800, height=480)
    with pytest.raises(ValueError, match=r"CAM_FRONT.* about 400 x 240 px, but its calibration is for 800 x 480"):
        LoadCameras()(info)

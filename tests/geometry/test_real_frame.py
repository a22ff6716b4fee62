"""Our geometry against nuscenes-devkit's own on the real key frame: the same boxes, the same pixels."""

import numpy as np
import pytest
import torch

from perception.geometry import (
    box_corners,
    box_from_global,
    boxes_to_global,
    compose_image_from_lidar,
    cuboid_corners,
    in_image,
    invert,
    project,
    rigid,
    rotation_from_quaternion,
    transform_boxes,
    yaw_of,
)

nuscenes = pytest.importorskip("nuscenes.nuscenes")


@pytest.fixture(scope="module")
def nusc(one_frame_root):
    return nuscenes.NuScenes("v1.0-mini", str(one_frame_root), verbose=False)


def pose(record: dict) -> np.ndarray:
    return rigid(record["translation"], record["rotation"])


def sensor(nusc, channel: str) -> tuple[dict, np.ndarray, np.ndarray, dict]:
    data = nusc.get("sample_data", nusc.sample[0]["data"][channel])
    calibration = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    return data, pose(nusc.get("ego_pose", data["ego_pose_token"])), pose(calibration), calibration


def test_projected_box_corners_agree_with_the_devkit_to_a_hundredth_of_a_pixel(nusc):
    from nuscenes.utils.geometry_utils import BoxVisibility, view_points

    _, global_from_ego, ego_from_lidar, _ = sensor(nusc, "LIDAR_TOP")
    lidar_from_global = invert(global_from_ego @ ego_from_lidar)
    compared = 0
    for channel in (name for name in nusc.sample[0]["data"] if name.startswith("CAM")):
        data, global_from_ego_camera, ego_from_camera, calibration = sensor(nusc, channel)
        camera_from_lidar = invert(global_from_ego_camera @ ego_from_camera) @ invert(lidar_from_global)
        image_from_lidar = compose_image_from_lidar(camera_from_lidar, np.array(calibration["camera_intrinsic"]))
        # The devkit's own road: global -> ego at the camera's time -> camera -> pixels.
        _, boxes, intrinsic = nusc.get_sample_data(data["token"], box_vis_level=BoxVisibility.ALL)
        for box in boxes:
            expected = view_points(box.corners(), intrinsic, normalize=True)[:2].T
            annotation = nusc.get("sample_annotation", box.token)
            width, length, height = annotation["size"]
            corners = cuboid_corners(
                lidar_from_global[:3, :3] @ annotation["translation"] + lidar_from_global[:3, 3],
                np.array([length, width, height]),
                lidar_from_global[:3, :3] @ rotation_from_quaternion(annotation["rotation"]),
            )
            pixels, depth = project(image_from_lidar, corners)
            np.testing.assert_allclose(pixels, expected, rtol=0, atol=0.01)
            np.testing.assert_allclose(depth, box.corners()[2], rtol=0, atol=1e-6)
            assert in_image(pixels, depth, (900, 1600)).all()
            compared += 1
    assert compared > 20


def test_boxes_in_the_lidar_frame_agree_with_the_devkit(nusc):
    token = nusc.sample[0]["data"]["LIDAR_TOP"]
    _, boxes, _ = nusc.get_sample_data(token)
    _, global_from_ego, ego_from_lidar, _ = sensor(nusc, "LIDAR_TOP")
    lidar_from_global = invert(global_from_ego @ ego_from_lidar)
    for box in boxes:
        annotation = nusc.get("sample_annotation", box.token)
        ours = box_from_global(lidar_from_global, annotation["translation"], annotation["size"], annotation["rotation"])
        np.testing.assert_allclose(ours[:3], box.center, atol=1e-6)
        np.testing.assert_allclose(ours[3:6], box.wlh[[1, 0, 2]], atol=1e-9)
        np.testing.assert_allclose(ours[6], yaw_of(box.orientation.rotation_matrix), atol=1e-9)
        assert np.isnan(ours[7:]).all()
        # A box has a yaw only: the tilt of the sensor moves a corner by a few centimetres and no more.
        np.testing.assert_allclose(box_corners(ours[None])[0], box.corners().T, atol=0.25)


def test_global_round_trip_keeps_annotations(nusc):
    from pyquaternion import Quaternion

    _, global_from_ego, ego_from_lidar, _ = sensor(nusc, "LIDAR_TOP")
    global_from_lidar = global_from_ego @ ego_from_lidar
    annotations = nusc.sample_annotation
    velocity = np.random.default_rng(0).normal(size=(len(annotations), 3)) * [5, 5, 0]
    boxes = np.stack(
        [
            box_from_global(invert(global_from_lidar), a["translation"], a["size"], a["rotation"], v)
            for a, v in zip(annotations, velocity, strict=True)
        ]
    )
    translation, size, rotation, velocity_back = boxes_to_global(global_from_lidar, boxes)
    np.testing.assert_allclose(translation, [a["translation"] for a in annotations], atol=1e-6)
    np.testing.assert_allclose(size, [a["size"] for a in annotations], atol=1e-9)
    for ours, annotation in zip(rotation, annotations, strict=True):
        theirs = Quaternion(annotation["rotation"])
        turn = (Quaternion(ours).inverse * theirs).rotation_matrix
        assert abs(yaw_of(turn)) < 2e-3
    # The head predicts no vertical velocity, so the sensor's tilt costs a few mm/s.
    np.testing.assert_allclose(velocity_back, velocity[:, :2], atol=0.02)


def test_transform_boxes_moves_corners_like_points_and_agrees_in_torch():
    rng = np.random.default_rng(0)
    boxes = np.concatenate(
        [
            rng.normal(size=(30, 3)) * 20,
            rng.uniform(0.5, 5, (30, 3)),
            rng.uniform(-3, 3, (30, 1)),
            rng.normal(size=(30, 2)),
        ],
        1,
    )
    boxes[3, 7:] = np.nan
    target_from_source = rigid([3.0, -2.0, 0.5], [np.cos(1.1), 0, 0, np.sin(1.1)])
    moved = transform_boxes(target_from_source, boxes)
    expected = box_corners(boxes) @ target_from_source[:3, :3].T + target_from_source[:3, 3]
    np.testing.assert_allclose(box_corners(moved), expected, atol=1e-9)
    np.testing.assert_allclose(
        moved[:, 7:], (np.pad(boxes[:, 7:], ((0, 0), (0, 1))) @ target_from_source[:3, :3].T)[:, :2], atol=1e-9
    )
    assert np.isnan(moved[3, 7:]).all() and np.isfinite(np.delete(moved, 3, 0)).all()
    moved_t = transform_boxes(torch.from_numpy(target_from_source), torch.from_numpy(boxes))
    np.testing.assert_allclose(moved_t.numpy(), moved, atol=1e-9)
    np.testing.assert_allclose(box_corners(moved_t).numpy(), box_corners(moved), atol=1e-9)
    assert boxes_to_global(target_from_source, np.zeros((0, 9)))[2].shape == (0, 4)

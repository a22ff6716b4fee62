"""The pinhole camera: projection and its inverse, with both augmentations in the matrix."""

import math

import numpy as np
import pytest
import torch

from perception.geometry import (
    compose_image_from_lidar,
    focal_lengths,
    homogeneous_intrinsics,
    image_affine,
    in_image,
    pixel_centres,
    project,
    rigid,
    transform_points,
    unproject,
)

INTRINSICS = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
# The camera looks along the LiDAR's x axis: x right = -y, y down = -z, z forward = x.
CAMERA_FROM_LIDAR = rigid([0.1, -0.3, 0.2], np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]))


def test_projection_by_hand():
    pixels, depth = project(compose_image_from_lidar(CAMERA_FROM_LIDAR, INTRINSICS), np.array([[10.0, 2.0, 1.0]]))
    assert depth[0] == pytest.approx(10.2)
    assert pixels[0].tolist() == pytest.approx([500 * (-2 + 0.1) / 10.2 + 320, 510 * (-1 - 0.3) / 10.2 + 240])


def test_augmentations_act_on_pixels_and_points_as_they_say():
    rng = np.random.default_rng(0)
    points = rng.uniform([4, -5, -2], [40, 5, 2], (50, 3))
    affine = np.array([[0.4, 0.05, -12.0], [-0.03, 0.5, 7.0]])
    lidar_aug = np.diag([1.1, -1.1, 1.1, 1.0]) @ rigid([0.5, 1.0, 0.0], [math.cos(0.2), 0, 0, math.sin(0.2)])
    plain, depth = project(compose_image_from_lidar(CAMERA_FROM_LIDAR, INTRINSICS), points)
    augmented = compose_image_from_lidar(CAMERA_FROM_LIDAR, INTRINSICS, image_affine(affine), lidar_aug)
    moved = transform_points(lidar_aug, points)
    pixels, depth_after = project(augmented, moved)
    np.testing.assert_allclose(pixels, plain @ affine[:, :2].T + affine[:, 2], atol=1e-8)
    np.testing.assert_allclose(depth_after, depth, atol=1e-9)
    np.testing.assert_allclose(unproject(np.linalg.inv(augmented), pixels, depth), moved, atol=1e-8)
    pixels_t, depth_t = project(torch.from_numpy(augmented), torch.from_numpy(moved))
    np.testing.assert_allclose(pixels_t.numpy(), pixels, atol=1e-8)
    back = unproject(torch.from_numpy(augmented).inverse(), pixels_t, depth_t)
    np.testing.assert_allclose(back.numpy(), moved, atol=1e-8)


def test_points_behind_the_camera_are_finite_and_never_in_the_image():
    image_from_lidar = compose_image_from_lidar(CAMERA_FROM_LIDAR, INTRINSICS)
    behind = np.array([[-5.0, 0.0, 0.0], [-0.2, 0.0, 0.0], [-0.2, 1.0, 0.0]])
    pixels, depth = project(image_from_lidar, behind)
    assert np.isfinite(pixels).all() and (depth <= 1e-9).all()
    assert not in_image(pixels, depth, (480, 640)).any()


def test_image_edges_are_half_a_pixel_from_the_outer_centres():
    pixels = np.array([[-0.5, 0], [-0.51, 0], [639.49, 479.49], [639.5, 0]])
    assert in_image(pixels, np.ones(4), (480, 640)).tolist() == [True, False, True, False]


def test_pixel_centres_of_a_feature_map_average_the_pixels_below_each_cell():
    centres = pixel_centres((3, 5), 8)
    v, u = torch.meshgrid(torch.arange(24.0), torch.arange(40.0), indexing="ij")
    for i, grid in enumerate((u, v)):
        assert torch.allclose(centres[..., i], torch.nn.functional.avg_pool2d(grid[None], 8)[0])


def test_bad_intrinsics_are_refused():
    with pytest.raises(ValueError, match="3x3"):
        homogeneous_intrinsics(np.eye(2))
    with pytest.raises(ValueError, match="finite"):
        homogeneous_intrinsics(np.full((3, 3), np.nan))
    np.testing.assert_array_equal(homogeneous_intrinsics(INTRINSICS)[:3, :3], INTRINSICS)


def test_focal_lengths_outlive_every_augmentation():
    rng = np.random.default_rng(0)
    for _ in range(20):
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        camera_from_lidar = np.eye(4)
        camera_from_lidar[:3, :3], camera_from_lidar[:3, 3] = rotation * np.linalg.det(rotation), rng.normal(size=3)
        fx, fy = rng.uniform(200, 900, 2)
        intrinsics = np.array([[fx, 0, 333], [0, fy, 111], [0, 0, 1]])
        lidar_aug = np.diag([1.3, -1.3, 1.3, 1.0]) @ camera_from_lidar
        zoom = image_affine(np.array([[-0.5, 0, 90], [0, 0.5, -7]]))
        matrix = compose_image_from_lidar(camera_from_lidar, intrinsics, zoom, lidar_aug)
        got = focal_lengths(torch.from_numpy(matrix).float())
        np.testing.assert_allclose(got.numpy(), [fx / 2, fy / 2], rtol=1e-4)
        round_intrinsics = np.array([[fx, 0, 333], [0, fx, 111], [0, 0, 1]])
        turn = image_affine(np.array([[0.8, 0.6, 3], [-0.6, 0.8, 9]]))
        turned = focal_lengths(torch.from_numpy(compose_image_from_lidar(camera_from_lidar, round_intrinsics, turn)))
        np.testing.assert_allclose(turned.numpy(), [fx, fx], rtol=1e-9)

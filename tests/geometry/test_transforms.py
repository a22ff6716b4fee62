"""Transforms against pyquaternion and against their own definitions."""

import math

import numpy as np
import pytest
import torch
from pyquaternion import Quaternion

from perception.geometry import (
    invert,
    invert_affine,
    quaternion_from_rotation,
    rigid,
    rotation_from_quaternion,
    rotation_z,
    transform_points,
    wrap_angle,
    yaw_of,
)


def random_quaternions(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 4))


@pytest.mark.parametrize("quaternion", [*random_quaternions(20).tolist(), [0, 0, 0, -2], [0, 1e-9, 1, 0]])
def test_rotation_from_quaternion_matches_pyquaternion(quaternion):
    np.testing.assert_allclose(
        rotation_from_quaternion(quaternion), Quaternion(quaternion).rotation_matrix, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("quaternion", [[0, 0, 0, 0], [1, 0, 0], [1, 0, 0, math.nan]])
def test_bad_quaternion_is_refused(quaternion):
    with pytest.raises(ValueError, match="quaternion"):
        rotation_from_quaternion(quaternion)


def test_inverse_of_affine_transforms_is_numpys():
    matrices = np.random.default_rng(0).normal(size=(3, 7, 4, 4))
    matrices[..., :2, :] *= 500  # as an image's are
    matrices[..., 3, :] = [0, 0, 0, 1]
    inverse = invert_affine(torch.from_numpy(matrices)).numpy()
    np.testing.assert_allclose(inverse, np.linalg.inv(matrices), rtol=1e-10, atol=1e-12)
    flat = torch.diag(torch.tensor([1.0, 1.0, 0.0, 1.0]))
    assert not invert_affine(flat).isfinite().all()


def test_quaternion_round_trip_holds_for_half_turns_too():
    half_turns = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1e-8, 0.6, 0.8, 0], [1, 0, 0, 0]])
    rotations = np.stack([rotation_from_quaternion(q) for q in np.concatenate([random_quaternions(100), half_turns])])
    quaternions = quaternion_from_rotation(rotations)
    assert (quaternions[:, 0] >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1, atol=1e-12)
    back = np.stack([Quaternion(q).rotation_matrix for q in quaternions])
    np.testing.assert_allclose(back, rotations, rtol=0, atol=1e-12)


def test_invert_and_points_in_numpy_and_torch():
    rng = np.random.default_rng(1)
    transforms = np.stack([rigid(rng.normal(size=3) * 50, q) for q in random_quaternions(4)])
    points = rng.normal(size=(4, 7, 3)) * 30
    moved = transform_points(transforms, points)
    for b in range(4):
        for p in range(7):
            np.testing.assert_allclose(moved[b, p], (transforms[b] @ np.append(points[b, p], 1))[:3], atol=1e-10)
    np.testing.assert_allclose(transform_points(invert(transforms), moved), points, atol=1e-10)
    np.testing.assert_allclose(invert(transforms), np.linalg.inv(transforms), atol=1e-10)

    transforms_t, points_t = torch.from_numpy(transforms), torch.from_numpy(points)
    np.testing.assert_allclose(transform_points(transforms_t, points_t).numpy(), moved, atol=1e-10)
    np.testing.assert_allclose(invert(transforms_t).numpy(), np.linalg.inv(transforms), atol=1e-10)
    assert transform_points(transforms_t[0], torch.zeros(0, 3, dtype=torch.float64)).shape == (0, 3)


def test_points_keep_their_precision_under_autocast():
    points = torch.tensor([[51.237, -49.871, 1.234]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = transform_points(torch.eye(4), points)
    assert torch.equal(moved, points)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wrap_angle_is_in_the_half_open_range(dtype):
    pi = math.pi
    angles = np.array(
        [0, pi, -pi, 3 * pi, -3 * pi, pi + 1, -pi - 1, 100, np.nextafter(dtype(-pi), dtype(-4))], dtype=dtype
    )
    for wrapped in (wrap_angle(angles), wrap_angle(torch.from_numpy(angles)).numpy()):
        assert wrapped.dtype == dtype
        assert (wrapped >= dtype(-pi)).all() and (wrapped < dtype(pi)).all()
        np.testing.assert_allclose(
            np.exp(1j * wrapped.astype(np.float64)), np.exp(1j * angles.astype(np.float64)), atol=1e-5
        )


def test_yaw_of_a_turn_about_z_is_its_angle():
    yaws = np.linspace(-3.1, 3.1, 9)
    np.testing.assert_allclose(yaw_of(np.stack([rotation_z(yaw) for yaw in yaws])), yaws, atol=1e-12)

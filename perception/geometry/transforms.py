"""Rigid transforms as 4x4 matrices named target_from_source; quaternions are w x y z."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]
ArrayOrTensor = TypeVar("ArrayOrTensor", Array, Tensor)


def rotation_from_quaternion(quaternion: Sequence[float] | Array) -> Array:
    """Rotation matrix [3,3] float64 of a quaternion (w, x, y, z) of any length but zero.

    Raises ValueError when it does not have four finite numbers or is zero.
    """
    q = np.asarray(quaternion, dtype=np.float64)
    norm = float(np.linalg.norm(q))
    if q.shape != (4,) or not math.isfinite(norm) or norm == 0.0:
        raise ValueError(f"a quaternion is four finite numbers w x y z, not all zero; got {quaternion!r}")
    w, x, y, z = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(rotation: Array) -> Array:
    """Unit quaternions (w, x, y, z) [...,4] float64 with w >= 0 of rotation matrices [...,3,3].

    The quaternion is the eigenvector of the largest eigenvalue of the symmetric matrix K of Bar-Itzhack,
    "New method for extracting the quaternion from a rotation matrix" (2000): no case is ill conditioned.
    """
    r = np.asarray(rotation, dtype=np.float64)
    k = np.empty((*r.shape[:-2], 4, 4))
    for row in range(3):
        for column in range(3):
            k[..., row + 1, column + 1] = r[..., row, column] + r[..., column, row]
    trace = np.trace(r, axis1=-2, axis2=-1)
    for axis in range(3):
        k[..., axis + 1, axis + 1] -= trace
        following, last = (axis + 1) % 3, (axis + 2) % 3
        k[..., 0, axis + 1] = k[..., axis + 1, 0] = r[..., last, following] - r[..., following, last]
    k[..., 0, 0] = trace
    q = np.linalg.eigh(k)[1][..., -1]
    return cast(Array, np.where(q[..., :1] < 0, -q, q))


def rotation_z(yaw_rad: float) -> Array:
    """Rotation matrix [3,3] float64 of a counter-clockwise turn about z."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rigid(translation: Sequence[float] | Array, rotation: Sequence[float] | Array) -> Array:
    """Rigid transform [4,4] float64 of a translation (m) and a rotation: quaternion (w, x, y, z) or matrix [3,3]."""
    transform = np.eye(4)
    r = np.asarray(rotation, dtype=np.float64)
    transform[:3, :3] = r if r.shape == (3, 3) else rotation_from_quaternion(r)
    transform[:3, 3] = translation
    return transform


def invert(transform: ArrayOrTensor) -> ArrayOrTensor:
    """Inverse of rigid transforms [...,4,4] by the transpose of the rotation: source_from_target."""
    inverse = transform.clone() if isinstance(transform, Tensor) else transform.copy()
    rotation_t = transform[..., :3, :3].swapaxes(-1, -2)
    inverse[..., :3, :3] = rotation_t
    inverse[..., :3, 3:] = -(rotation_t @ transform[..., :3, 3:])
    return cast(ArrayOrTensor, inverse)


def invert_affine(transform: Tensor) -> Tensor:
    """Inverse of affine transforms [...,4,4], whose last row is 0 0 0 1; infinite or NaN where there is none.

    By Cramer's rule and one operation after the other: a solver rounds as its library likes, and ONNX has none.
    """
    (a, b, c, x), (d, e, f, y), (g, h, i, z), last = (row.unbind(-1) for row in transform.unbind(-2))
    adjugate = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    determinant = a * adjugate[0][0] + b * adjugate[1][0] + c * adjugate[2][0]
    rows = [torch.stack((p, q, r, -(p * x + q * y + r * z)), dim=-1) / determinant[..., None] for p, q, r in adjugate]
    return torch.stack((*rows, torch.stack(last, dim=-1)), dim=-2)


def transform_points(target_from_source: ArrayOrTensor, points: ArrayOrTensor) -> ArrayOrTensor:
    """Points [...,P,3] moved by affine transforms [...,4,4]; the result has the dtype that the product has."""
    if isinstance(points, Tensor):
        # Not a matmul: autocast would run that in half precision, where 50 m has steps of 3 cm.
        columns = target_from_source[..., None, :3, :].unbind(-1)
        x, y, z = points.split(1, dim=-1)
        return x * columns[0] + y * columns[1] + z * columns[2] + columns[3]
    rotation_t = target_from_source[..., :3, :3].swapaxes(-1, -2)
    return cast(ArrayOrTensor, points @ rotation_t + target_from_source[..., None, :3, 3])


def yaw_of(rotation: Array) -> Array:
    """Yaw (rad, in [-pi, pi)) of rotations [...,3,3] or [...,4,4]: where the turned x axis points, seen from above."""
    return wrap_angle(np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0]))


def wrap_angle(angle_rad: ArrayOrTensor) -> ArrayOrTensor:
    """Angles wrapped to [-pi, pi), same dtype. Rounding cannot bring out pi itself."""
    if isinstance(angle_rad, Tensor):
        wrapped = torch.remainder(angle_rad + math.pi, 2 * math.pi) - math.pi
        return torch.where(wrapped >= math.pi, wrapped.new_full((), -math.pi), wrapped)
    wrapped = np.remainder(angle_rad + math.pi, 2 * math.pi) - math.pi
    return cast(ArrayOrTensor, np.where(wrapped >= math.pi, np.asarray(-math.pi, dtype=wrapped.dtype), wrapped))

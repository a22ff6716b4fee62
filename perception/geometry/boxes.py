"""Boxes [K,9]: x y z of the gravity centre (m), length width height (m), yaw (rad), vx vy (m/s)."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from perception.geometry.transforms import (
    Array,
    ArrayOrTensor,
    quaternion_from_rotation,
    rotation_from_quaternion,
    rotation_z,
    transform_points,
    wrap_angle,
    yaw_of,
)

# In nuscenes-devkit's order: the four of the front face, then the four of the back (x forward, y left, z up).
_UNIT_CORNERS = np.array(
    [
        [0.5, 0.5, 0.5],
        [0.5, -0.5, 0.5],
        [0.5, -0.5, -0.5],
        [0.5, 0.5, -0.5],
        [-0.5, 0.5, 0.5],
        [-0.5, -0.5, 0.5],
        [-0.5, -0.5, -0.5],
        [-0.5, 0.5, -0.5],
    ]
)


def cuboid_corners(centre: Array, size_lwh: Array, rotation: Array) -> Array:
    """Corners [...,8,3] (m) of cuboids turned anyhow: centre [...,3], size [...,3] l w h (m), rotation [...,3,3]."""
    offsets = _UNIT_CORNERS * np.asarray(size_lwh, dtype=np.float64)[..., None, :]
    return cast(Array, offsets @ np.swapaxes(rotation, -1, -2) + np.asarray(centre, dtype=np.float64)[..., None, :])


def box_corners(boxes: ArrayOrTensor) -> ArrayOrTensor:
    """Corners [K,8,3] (m) of boxes [K,7 or more], front face first, in the order of nuscenes-devkit."""
    if isinstance(boxes, Tensor):
        offsets = boxes.new_tensor(_UNIT_CORNERS) * boxes[:, None, 3:6]
        cos, sin = torch.cos(boxes[:, 6:7]), torch.sin(boxes[:, 6:7])
        x, y, z = offsets.unbind(-1)
        return torch.stack([x * cos - y * sin, x * sin + y * cos, z], -1) + boxes[:, None, :3]
    offsets = _UNIT_CORNERS.astype(boxes.dtype) * boxes[:, None, 3:6]
    cos, sin = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    x, y, z = offsets[..., 0], offsets[..., 1], offsets[..., 2]
    return cast(ArrayOrTensor, np.stack([x * cos - y * sin, x * sin + y * cos, z], -1) + boxes[:, None, :3])


def transform_boxes(target_from_source: ArrayOrTensor, boxes: ArrayOrTensor) -> ArrayOrTensor:
    """Boxes [K,7 or 9] of a source frame in a target frame, given the rigid transform [4,4] between them.

    Centre, yaw and velocity turn; a tilt of the frames is kept in the centre and dropped from the orientation,
    because a box has a yaw only. Velocities that are NaN (unknown) stay NaN.
    """
    moved = boxes.clone() if isinstance(boxes, Tensor) else boxes.copy()
    r = target_from_source[:3, :3]
    moved[:, :3] = transform_points(target_from_source, boxes[:, :3])
    if isinstance(boxes, Tensor):
        cos, sin = torch.cos(boxes[:, 6]), torch.sin(boxes[:, 6])
        moved[:, 6] = wrap_angle(torch.atan2(r[1, 0] * cos + r[1, 1] * sin, r[0, 0] * cos + r[0, 1] * sin))
    else:
        cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
        moved[:, 6] = wrap_angle(np.arctan2(r[1, 0] * cos + r[1, 1] * sin, r[0, 0] * cos + r[0, 1] * sin))
    if boxes.shape[1] > 7:
        moved[:, 7:9] = boxes[:, 7:9] @ r[:2, :2].T
    return cast(ArrayOrTensor, moved)


def box_from_global(
    lidar_from_global: Array,
    translation: Sequence[float] | Array,
    size_wlh: Sequence[float] | Array,
    quaternion: Sequence[float] | Array,
    velocity: Sequence[float] | Array | None = None,
) -> Array:
    """A nuScenes annotation (global frame) as a box [9] float64 in the LiDAR frame.

    Args:
        lidar_from_global: [4,4].
        translation, size_wlh, quaternion: centre (m), width length height (m), w x y z, as the tables hold them.
        velocity: [2 or 3] m/s in the global frame; None or NaN when it is unknown, which gives NaN.
    """
    rotation = lidar_from_global[:3, :3]
    width, length, height = (float(v) for v in size_wlh)
    centre = rotation @ np.asarray(translation, dtype=np.float64) + lidar_from_global[:3, 3]
    yaw = float(yaw_of(rotation @ rotation_from_quaternion(quaternion)))
    vx, vy, vz = np.nan, np.nan, 0.0
    if velocity is not None:
        vx, vy = float(velocity[0]), float(velocity[1])
        vz = float(velocity[2]) if len(velocity) > 2 else 0.0
    velocity_lidar = rotation @ np.array([vx, vy, vz])
    return np.array([*centre, length, width, height, yaw, *velocity_lidar[:2]])


def boxes_to_global(global_from_lidar: Array, boxes: Array) -> tuple[Array, Array, Array, Array]:
    """Boxes [K,9] of the LiDAR frame as the four fields of a nuScenes result, all float64.

    Returns:
        translation [K,3] m, size [K,3] width length height (m), rotation [K,4] quaternions w x y z,
        velocity [K,2] m/s in the global frame.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    rotation = global_from_lidar[:3, :3]
    translation = transform_points(global_from_lidar, boxes[:, :3])
    orientation = np.stack([rotation @ rotation_z(yaw) for yaw in boxes[:, 6]]) if len(boxes) else np.empty((0, 3, 3))
    velocity = np.pad(boxes[:, 7:9], ((0, 0), (0, 1))) @ rotation.T
    return translation, boxes[:, [4, 3, 5]], quaternion_from_rotation(orientation), velocity[:, :2]

"""Whether an info entry says what one can say: poses that are poses, boxes that have a size, times that are times."""

import math
from typing import Any

import numpy as np

_MAX_AGE_S = 60.0
_MAX_SIZE_M, _MAX_DISTANCE_M = 200.0, 10_000.0
_ROTATION_SLACK = 1e-3  # float32 poses and rounded JSON


def check_entry(info: dict[str, Any]) -> None:
    """Check an entry that `resolve_entry` has been over.

    Raises ValueError naming the field: a matrix that is no rotation with a shift, a camera matrix without a focal
    length, a time that is not finite or far from its key frame's, a box without a size or off the map.
    """
    lidar = info["lidar_points"]
    poses = {"ego2global": info["ego2global"], "lidar2ego": lidar["lidar2ego"]}
    for i, sweep in enumerate(info["lidar_sweeps"]):
        poses[f"lidar2sensor of sweep {i}"] = sweep["lidar_points"]["lidar2sensor"]
        age_s = _time(info) - _time(sweep)
        if not -1 < age_s < _MAX_AGE_S:
            raise ValueError(f"sweep {i} is {age_s:.3f} s older than its key frame")
    for name, image in info["images"].items():
        poses[f"lidar2cam of {name}"] = image["lidar2cam"]
        _check_camera(name, image)
    _check_poses(poses)
    _check_boxes(info.get("instances", []))


def _time(entry: dict[str, Any]) -> float:
    value = entry["timestamp"]
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"timestamp is {value!r}")
    return float(value)


def _check_camera(name: str, image: dict[str, Any]) -> None:
    matrix = image["cam2img"]
    if matrix.shape not in ((3, 3), (3, 4), (4, 4)) or not np.isfinite(matrix).all():
        raise ValueError(f"cam2img of {name} is not a camera matrix of finite numbers")
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0 and np.allclose(matrix[2, :3], (0, 0, 1))):
        raise ValueError(f"cam2img of {name} has no focal length, or its last row is not 0 0 1")


def _check_poses(poses: dict[str, np.ndarray]) -> None:
    for name, pose in poses.items():
        if pose.shape != (4, 4) or pose.dtype.kind not in "fiu":
            raise ValueError(f"{name} is not a matrix of 4 x 4 numbers")
    stack = np.stack(list(poses.values())).astype(np.float64)
    rotation = stack[:, :3, :3]
    with np.errstate(all="ignore"):
        error = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        right = (error < _ROTATION_SLACK) & (np.linalg.det(rotation) > 0)
    right &= np.isfinite(stack).all(axis=(1, 2)) & (np.abs(stack[:, 3] - (0, 0, 0, 1)) < 1e-6).all(axis=1)
    if not right.all():
        raise ValueError(f"{list(poses)[int(np.argmin(right))]} is not a rotation and a shift")


def _check_boxes(instances: list[dict[str, Any]]) -> None:
    if not instances:
        return
    boxes = np.array([row["bbox_3d"][:7] for row in instances], dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 7 or not np.isfinite(boxes).all():
        raise ValueError("bbox_3d is not seven finite numbers")
    if not ((boxes[:, 3:6] > 0) & (boxes[:, 3:6] <= _MAX_SIZE_M)).all():
        raise ValueError(f"bbox_3d has a length of zero, below zero or above {_MAX_SIZE_M} m")
    if np.abs(boxes[:, :3]).max() > _MAX_DISTANCE_M:
        raise ValueError(f"bbox_3d lies more than {_MAX_DISTANCE_M} m away")
    for row in instances:
        if not isinstance(row["bbox_label_3d"], (int, np.integer)) or isinstance(row["bbox_label_3d"], bool):
            raise ValueError(f"bbox_label_3d is {row['bbox_label_3d']!r}, not the number of a class")

"""The vehicle's sensors: a nuScenes car, its six cameras, its 32-beam LiDAR and their clocks.

Intrinsics, extrinsics and camera trigger times are those of a nuScenes car (Caesar et al., CVPR 2020, calibrated_sensor
and sample_data of scene-0061), rounded; a synthetic data set so has the geometry of the real one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LIDAR = "LIDAR_TOP"
FULL_SIZE_PX = (1600, 900)
SWEEP_PERIOD_S = 0.05
KEYFRAME_PERIOD_S = 0.5
NUM_BEAMS = 32
NUM_AZIMUTHS = 1084
# Velodyne HDL-32E: 32 beams, 1.33 degrees apart, ring 0 the lowest.
BEAM_ELEVATIONS_RAD = np.radians(np.linspace(-30.67, 10.67, NUM_BEAMS))

LIDAR_TRANSLATION = (0.943713, 0.0, 1.840230)
LIDAR_ROTATION = (0.707796, -0.006492, 0.010646, -0.706307)

# Channel: (trigger time after the LiDAR's, s), (focal length, cx, cy in px), translation (m), quaternion wxyz.
_CAMERAS = {
    "CAM_FRONT": (
        -0.0355,
        (1266.4172, 816.2670, 491.5071),
        (1.700791, 0.015946, 1.510958),
        (-0.499802, 0.503032, -0.499780, 0.497371),
    ),
    "CAM_FRONT_RIGHT": (
        -0.0276,
        (1260.8474, 807.9682, 495.3344),
        (1.550848, -0.493405, 1.495748),
        (0.206035, -0.202694, 0.682451, -0.671361),
    ),
    "CAM_FRONT_LEFT": (
        -0.0431,
        (1272.5979, 826.6155, 479.7517),
        (1.523878, 0.494631, 1.509328),
        (0.675727, -0.673627, 0.212140, -0.211228),
    ),
    "CAM_BACK": (
        -0.0104,
        (809.2210, 829.2196, 481.7784),
        (0.028326, 0.003451, 1.579103),
        (0.503787, -0.497402, -0.494185, 0.504550),
    ),
    "CAM_BACK_LEFT": (
        -0.0005,
        (1256.7415, 792.1126, 492.7757),
        (1.035691, 0.484795, 1.590970),
        (-0.692419, 0.703162, 0.116483, -0.112033),
    ),
    "CAM_BACK_RIGHT": (
        -0.0201,
        (1259.5137, 807.2529, 501.1948),
        (1.014878, -0.480568, 1.562395),
        (-0.122810, 0.132401, 0.700431, -0.690496),
    ),
}


def rotation_matrix(quaternion: tuple[float, float, float, float] | np.ndarray) -> np.ndarray:
    """Rotation matrix [3,3] of a quaternion (w, x, y, z), normalised first."""
    w, x, y, z = np.asarray(quaternion, dtype=np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rigid(rotation: np.ndarray, translation: tuple[float, float, float] | np.ndarray) -> np.ndarray:
    """Transform [4,4] of a rotation [3,3] and a translation (m)."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = translation
    return matrix


def global_from_pose(pose: np.ndarray) -> np.ndarray:
    """Transforms [...,4,4] of poses [...,4] = x y z (m) and yaw (rad)."""
    pose = np.asarray(pose, dtype=np.float64)
    matrix = np.zeros((*pose.shape[:-1], 4, 4))
    cos, sin = np.cos(pose[..., 3]), np.sin(pose[..., 3])
    matrix[..., 0, 0], matrix[..., 0, 1] = cos, -sin
    matrix[..., 1, 0], matrix[..., 1, 1] = sin, cos
    matrix[..., 2, 2] = matrix[..., 3, 3] = 1.0
    matrix[..., :3, 3] = pose[..., :3]
    return matrix


@dataclass(frozen=True)
class CameraSensor:
    """One camera: its clock, pinhole and place on the car."""

    channel: str
    trigger_offset_s: float
    intrinsic: np.ndarray  # [3,3] at the rig's image size, px
    ego_from_camera: np.ndarray  # [4,4]
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]


@dataclass(frozen=True)
class Rig:
    """All sensors of the car at one image size."""

    image_size: tuple[int, int]  # width, height in px
    cameras: tuple[CameraSensor, ...]
    ego_from_lidar: np.ndarray  # [4,4]


def make_rig(image_size: tuple[int, int] = FULL_SIZE_PX) -> Rig:
    """The rig at an image size (width, height); the intrinsics shrink with the picture.

    Raises ValueError when the size has not the 16:9 aspect of the real cameras (within a pixel) or is under 64 px wide.
    """
    width, height = image_size
    scale = width / FULL_SIZE_PX[0]
    if width < 64 or abs(height - FULL_SIZE_PX[1] * scale) > 1:
        raise ValueError(
            f"image_size {width}x{height} must be at least 64 px wide and 16:9; for example 1600x900, 800x450"
        )
    cameras = []
    for channel, (offset_s, (focal, cx, cy), translation, rotation) in _CAMERAS.items():
        # Pixel centres lie at whole numbers, so the principal point scales about (-0.5, -0.5).
        u, v = (cx + 0.5) * scale - 0.5, (cy + 0.5) * height / FULL_SIZE_PX[1] - 0.5
        intrinsic = np.array([[focal * scale, 0.0, u], [0.0, focal * height / FULL_SIZE_PX[1], v], [0.0, 0.0, 1.0]])
        pose = rigid(rotation_matrix(rotation), translation)
        cameras.append(CameraSensor(channel, offset_s, intrinsic, pose, translation, rotation))
    return Rig((width, height), tuple(cameras), rigid(rotation_matrix(LIDAR_ROTATION), LIDAR_TRANSLATION))

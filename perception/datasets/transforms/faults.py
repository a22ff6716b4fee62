"""Sensors that work badly: a narrow or thinned LiDAR, spoilt images, wrong calibration, late data. For testing.

A fault is what the network is not told of: masks and times stay as they were. All are deterministic, and act between
loading and ImageAugment, but for DelayLidar, which goes first, and LoadThinnedSweeps, which stands in for LoadSweeps.
"""

import hashlib
import math
from typing import Any

import cv2
import numpy as np

from perception.datasets.info_files import POINT_FEATURES
from perception.datasets.sensor_files import read_points
from perception.datasets.transforms.base import TRANSFORMS, BaseTransform
from perception.datasets.transforms.loading import LoadSweeps
from perception.geometry import invert


@TRANSFORMS.register_module()
class LimitLidar(BaseTransform):
    """Keep the points inside a sector about the vehicle's forward axis.

    Args:
        azimuth_deg: half the sector's opening.
    """

    def __init__(self, azimuth_deg: float) -> None:
        self.azimuth_rad = math.radians(azimuth_deg)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        ego_from_lidar = np.asarray(results["lidar_points"].get("lidar2ego", np.eye(4)))
        xyz = results["points"][:, :3] @ ego_from_lidar[:3, :3].T.astype(np.float32)
        results["points"] = results["points"][np.abs(np.arctan2(xyz[:, 1], xyz[:, 0])) <= self.azimuth_rad]
        return results


@TRANSFORMS.register_module()
class LoadThinnedSweeps(LoadSweeps):
    """LoadSweeps of a sensor with fewer beams: only every n-th ring of each cloud is read.

    Args:
        ring_step: n.
        sweeps, every, remove_close_m: LoadSweeps's.

    Raises ValueError naming a file whose points have no ring number.
    """

    def __init__(self, ring_step: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ring_step = ring_step

    def read(self, path: str, features: int, size: int | None = None) -> np.ndarray:
        if features < POINT_FEATURES:
            raise ValueError(f"{path}: its points have {features} numbers, none of which is the ring")
        points = read_points(path, features, size)
        return points[points[:, POINT_FEATURES - 1].astype(np.int64) % self.ring_step == 0]


@TRANSFORMS.register_module()
class DelayLidar(BaseTransform):
    """The clouds of a while ago arrive under the present's calibration and time.

    What moved since, and the car itself, is where it was.

    Args:
        delay_s: the sweep nearest to this age stands in for the present one; without any that old, the oldest.
    """

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        sweeps = results.get("lidar_sweeps", [])
        if not sweeps or self.delay_s == 0:
            return results
        age_s = np.array([results["timestamp"] - sweep["timestamp"] for sweep in sweeps])
        index = int(np.abs(age_s - self.delay_s).argmin())
        present = sweeps[index]
        present_from_now = np.asarray(present["lidar_points"]["lidar2sensor"])
        older = []
        for sweep in sweeps[index + 1 :]:
            # As the sensor would compensate: relative to the sweep that it takes for the present.
            sweep_from_present = np.asarray(sweep["lidar_points"]["lidar2sensor"]) @ invert(present_from_now)
            points = {**sweep["lidar_points"], "lidar2sensor": sweep_from_present}
            older.append({**sweep, "lidar_points": points, "timestamp": sweep["timestamp"] + age_s[index]})
        stand_in = {key: present["lidar_points"].get(key) for key in ("lidar_path", "bytes")}
        results["lidar_points"] = {**results["lidar_points"], **stand_in}
        results["lidar_sweeps"] = older
        return results


@TRANSFORMS.register_module()
class DelayCameras(BaseTransform):
    """Images as if taken a while ago: the calibration is off by the car's own motion since.

    The images themselves are the present's, so that the motion of others does not show.

    Args:
        delay_s: how late the images are. The car's motion is that of the sweep nearest to this age, scaled to it.
    """

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        sweeps = results.get("lidar_sweeps", [])
        if not sweeps:
            return results
        age_s = np.array([results["timestamp"] - sweep["timestamp"] for sweep in sweeps])
        index = int(np.abs(age_s - self.delay_s).argmin())
        if age_s[index] <= 0:
            return results
        then_from_now = np.asarray(sweeps[index]["lidar_points"]["lidar2sensor"])
        share = self.delay_s / age_s[index]
        turn, _ = cv2.Rodrigues(then_from_now[:3, :3])
        motion = np.eye(4)
        motion[:3, :3], _ = cv2.Rodrigues(turn * share)
        motion[:3, 3] = then_from_now[:3, 3] * share
        results["camera_from_lidar"] = results["camera_from_lidar"] @ invert(motion)
        return results


@TRANSFORMS.register_module()
class MiscalibrateCameras(BaseTransform):
    """Turn and shift what is believed of each camera's mounting, in a direction of its own.

    Directions are drawn from the scene and the camera's name: a mounting is wrong in the same way all along.

    Args:
        rotation_deg: angle of the turn about the camera's centre.
        translation_m: length of the shift.
    """

    def __init__(self, rotation_deg: float = 0.0, translation_m: float = 0.0) -> None:
        self.rotation_rad, self.translation_m = math.radians(rotation_deg), translation_m

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        for i, name in enumerate(results["cameras"]):
            digest = hashlib.sha256(f"{results.get('scene_token')}/{name}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
            axis, direction = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
            error = np.eye(4)
            error[:3, :3], _ = cv2.Rodrigues(axis * self.rotation_rad)
            error[:3, 3] = direction * self.translation_m
            results["camera_from_lidar"][i] = error @ results["camera_from_lidar"][i]
        return results


@TRANSFORMS.register_module()
class SpoilImages(BaseTransform):
    """Black, over-exposed or blurred images, of cameras that report no fault.

    Args:
        exposure: factor on the pixels' values; 0 is black, 4 loses the lighter three quarters of the scale.
        blur_px: standard deviation of a Gaussian, in pixels of an image 1600 wide.
    """

    def __init__(self, exposure: float = 1.0, blur_px: float = 0.0) -> None:
        self.table = np.clip(np.arange(256) * exposure + 0.5, 0, 255).astype(np.uint8)
        self.blur_px = blur_px

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        for image in results["camera_images"]:
            if image is None:
                continue
            cv2.LUT(image, self.table, dst=image)
            if self.blur_px:
                cv2.GaussianBlur(image, (0, 0), self.blur_px * image.shape[1] / 1600, dst=image)
        return results

"""Sensors that fail: at random in training, so that the network learns to do without; by name in tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.datasets.transforms.base import TRANSFORMS, BaseTransform, random_generator


def _drop_lidar(results: dict[str, Any]) -> None:
    results["lidar_mask"] = False
    results["points"] = results["points"][:0]


def _drop_cameras(results: dict[str, Any], dropped: np.ndarray) -> None:
    results["camera_mask"] &= ~dropped
    for i in np.flatnonzero(dropped):
        if results["camera_images"][i] is not None:
            results["camera_images"][i][:] = 0


@TRANSFORMS.register_module()
class ModalityDropout(BaseTransform):
    """In training, at most one of three failures per sample: masks turn False, the data becomes empty or black.

    Args:
        no_cameras: probability that all cameras fail.
        no_lidar: probability that the LiDAR fails.
        one_camera: probability that one camera, any, fails.
    """

    def __init__(self, no_cameras: float = 0.0, no_lidar: float = 0.0, one_camera: float = 0.0) -> None:
        if min(no_cameras, no_lidar, one_camera) < 0 or no_cameras + no_lidar + one_camera > 1:
            raise ValueError(f"not probabilities that sum to 1 at most: {no_cameras}, {no_lidar}, {one_camera}")
        self.no_cameras, self.no_lidar, self.one_camera = no_cameras, no_lidar, one_camera

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        rng = random_generator()
        draw = rng.random()
        if draw < self.no_lidar:
            _drop_lidar(results)
        elif draw < self.no_lidar + self.no_cameras:
            _drop_cameras(results, np.ones_like(results["camera_mask"]))
        elif draw < self.no_lidar + self.no_cameras + self.one_camera:
            _drop_cameras(results, np.arange(len(results["camera_mask"])) == rng.integers(len(results["camera_mask"])))
        return results


@TRANSFORMS.register_module()
class DropSensors(BaseTransform):
    """Switch named sensors off, as a test of what is left without them.

    Args:
        cameras: names of cameras, or "all".
        lidar: whether the LiDAR is off.

    Raises ValueError for a camera that the frame does not have.
    """

    def __init__(self, cameras: Sequence[str] | str = (), lidar: bool = False) -> None:
        self.cameras, self.lidar = cameras, lidar

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if self.lidar:
            _drop_lidar(results)
        if self.cameras:
            names = results["cameras"]
            wanted = names if self.cameras == "all" else self.cameras
            if unknown := set(wanted) - set(names):
                raise ValueError(f"no camera {', '.join(sorted(unknown))}; the frame has {', '.join(names)}")
            _drop_cameras(results, np.isin(names, list(wanted)))
        return results

"""Random motion of the whole scene in bird's-eye view."""

from typing import Any

import numpy as np

from perception.datasets.transforms.base import TRANSFORMS, BaseTransform, random_generator
from perception.geometry import rotation_z

Interval = tuple[float, float]


@TRANSFORMS.register_module()
class BEVAugment(BaseTransform):
    """Mirror, turn, scale and shift points and boxes (yaw and velocity too) together.

    The change is folded into lidar_aug [4,4], so that projection of the moved points still meets the images.

    Args:
        rotation_rad: random turn about z.
        scale: random factor on all lengths.
        translation_std_m: standard deviation of a normal shift along x, y, z.
        flip_x, flip_y: probability of mirroring the x, y coordinate.
    """

    def __init__(
        self,
        rotation_rad: Interval = (0.0, 0.0),
        scale: Interval = (1.0, 1.0),
        translation_std_m: tuple[float, float, float] = (0.0, 0.0, 0.0),
        flip_x: float = 0.0,
        flip_y: float = 0.0,
    ) -> None:
        if scale[0] <= 0:
            raise ValueError(f"scale must be positive, got {scale}")
        self.rotation_rad, self.scale, self.translation_std_m = rotation_rad, scale, translation_std_m
        self.flip_x, self.flip_y = flip_x, flip_y

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        rng = random_generator()
        flip_x, flip_y = rng.random() < self.flip_x, rng.random() < self.flip_y
        angle, factor = rng.uniform(*self.rotation_rad), rng.uniform(*self.scale)
        shift = rng.normal(size=3) * self.translation_std_m

        augmentation = np.eye(4)
        mirror = np.diag([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0, 1.0])
        augmentation[:3, :3] = factor * rotation_z(angle) @ mirror
        augmentation[:3, 3] = shift
        results["lidar_aug"] = augmentation @ results.get("lidar_aug", np.eye(4))
        if "points" in results:
            matrix = augmentation.astype(np.float32)
            results["points"][:, :3] = results["points"][:, :3] @ matrix[:3, :3].T + matrix[:3, 3]
        if "gt_bboxes_3d" in results:
            boxes = results["gt_bboxes_3d"]
            if flip_x:
                boxes.flip("vertical")
            if flip_y:
                boxes.flip("horizontal")
            boxes.rotate(angle)
            boxes.scale(factor)
            boxes.translate(shift)
            boxes.limit_yaw(offset=0.5, period=2 * np.pi)
        return results

"""Which points and boxes stay, and in which order."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.datasets.transforms.base import TRANSFORMS, BaseTransform, random_generator


@TRANSFORMS.register_module()
class RangeFilter(BaseTransform):
    """Keep the points inside a range, and the boxes whose centre is inside it seen from above.

    Args:
        point_cloud_range: x_min y_min z_min x_max y_max z_max, m; the lower edges belong to the range. `BEVGrid` gives
            it as `point_cloud_range`.
    """

    def __init__(self, point_cloud_range: Sequence[float]) -> None:
        if len(point_cloud_range) != 6:
            raise ValueError(f"point_cloud_range needs six numbers, got {list(point_cloud_range)}")
        self.lower = np.array(point_cloud_range[:3], dtype=np.float32)
        self.upper = np.array(point_cloud_range[3:], dtype=np.float32)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if "points" in results:
            xyz = results["points"][:, :3]
            results["points"] = results["points"][((xyz >= self.lower) & (xyz < self.upper)).all(axis=1)]
        if "gt_bboxes_3d" in results:
            centres = results["gt_bboxes_3d"].bev[:, :2].numpy()
            kept = ((centres >= self.lower[:2]) & (centres < self.upper[:2])).all(axis=1)
            results["gt_bboxes_3d"] = results["gt_bboxes_3d"][kept]
            results["gt_labels_3d"] = results["gt_labels_3d"][kept]
        return results


@TRANSFORMS.register_module()
class ShufflePoints(BaseTransform):
    """Points in random order, so that a limit on their number drops any of them alike."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        # Generator.shuffle would swap row by row, ten times slower.
        results["points"] = results["points"][random_generator().permutation(len(results["points"]))]
        return results

"""The edges of boxes in an image."""

import numpy as np

# Corners as geometry.boxes.box_corners numbers them: 0-3 are the front face, 4-7 the back face behind them.
EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]])
FRONT = np.array([0, 1, 2, 3])
BOTTOM = np.array([3, 2, 6, 7])  # the front's two first
_NEAR_M = 0.1


def project_edges(corners: np.ndarray, image_from_lidar: np.ndarray) -> np.ndarray:
    """The visible parts [S,2,2] (px) of one box's edges; corners [8,3] (m, LiDAR frame), image_from_lidar [4,4].

    Edges are cut at a plane just before the camera, so that a box beside the car does not turn inside out.
    """
    points = np.concatenate([corners, np.ones((8, 1))], axis=1) @ image_from_lidar.T  # rows (u*d, v*d, d, 1)
    start, end = points[EDGES[:, 0], :3], points[EDGES[:, 1], :3]
    seen = (start[:, 2] > _NEAR_M) | (end[:, 2] > _NEAR_M)
    start, end = start[seen], end[seen]
    step = np.where(start[:, 2] == end[:, 2], 1.0, end[:, 2] - start[:, 2])
    cut = start + ((_NEAR_M - start[:, 2]) / step)[:, None] * (end - start)
    start, end = np.where(start[:, 2:] > _NEAR_M, start, cut), np.where(end[:, 2:] > _NEAR_M, end, cut)
    return np.stack([start[:, :2] / start[:, 2:], end[:, :2] / end[:, 2:]], axis=1)

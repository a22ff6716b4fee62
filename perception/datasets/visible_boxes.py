"""2D boxes of 3D ones in a camera's image: what is in sight of each, as one would draw it by hand."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from perception.geometry import box_corners
from perception.visualization.wireframe import project_edges

# Occlusion is found at a quarter of the image's size: no hull of eight corners is truer to the object than that.
_CELL_PX = 4


class VisibleBoxes(NamedTuple):
    """Attributes:
    rows: [G] int64, which of the 3D boxes, near ones first.
    boxes: [G,4] float64, x1 y1 x2 y2 (px; pixel (0, 0) covers [0, 1) x [0, 1)) about the part in sight.
    visible: [G] float64, the share of the box's outline in the image that nearer boxes leave in sight.
    """

    rows: np.ndarray
    boxes: np.ndarray
    visible: np.ndarray


def visible_boxes(boxes: np.ndarray, image_from_lidar: np.ndarray, image_hw: tuple[int, int]) -> VisibleBoxes:
    """Project 3D boxes into an image, cut them at its edge, and take away what nearer boxes hide.

    Of each box the convex hull of its corners is drawn, cut at a plane before the lens where it reaches behind. A box
    that others hide in part keeps the rectangle about the rest; one without a cell in sight is left out.

    Args:
        boxes: [K,7 or more], LiDAR frame.
        image_from_lidar: [4,4] of the recorded image.
        image_hw: its rows and columns.
    """
    height, width = image_hw
    canvas = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    hidden = np.zeros((-(-height // _CELL_PX), -(-width // _CELL_PX)), dtype=np.uint8)
    depth = (np.pad(boxes[:, :3], ((0, 0), (0, 1)), constant_values=1.0) @ image_from_lidar.T)[:, 2]
    corners = box_corners(np.asarray(boxes, dtype=np.float64))
    rows, out, visible = [], [], []
    for k in np.argsort(depth, kind="stable"):
        # Half a pixel: image_from_lidar has pixel centres at integers.
        points = project_edges(corners[k], image_from_lidar).reshape(-1, 2) + 0.5
        if not len(points):
            continue
        hull = cv2.convexHull(np.clip(points, -1e5, 1e5).astype(np.float32))
        area, inside = cv2.intersectConvexConvex(hull, canvas)
        if area <= 0 or inside is None:
            continue
        inside = inside[:, 0].astype(np.float64)
        (x1, y1), (x2, y2) = inside.min(0).tolist(), inside.max(0).tolist()
        # Cells whose centre the hull covers; one that covers none still has the cell at its middle.
        mask = np.zeros_like(hidden)
        cv2.fillConvexPoly(mask, np.round(inside / _CELL_PX - 0.5).astype(np.int32), (1,))
        seen = (mask & ~hidden).astype(bool)
        share = seen.sum() / max(int(mask.sum()), 1)
        hidden |= mask
        if share == 0:
            continue
        if share < 1:
            v, u = np.nonzero(seen)
            x1, x2 = max(x1, int(u.min()) * _CELL_PX), min(x2, (int(u.max()) + 1) * _CELL_PX)
            y1, y2 = max(y1, int(v.min()) * _CELL_PX), min(y2, (int(v.max()) + 1) * _CELL_PX)
        if x2 <= x1 or y2 <= y1:
            continue
        rows.append(k)
        out.append((x1, y1, x2, y2))
        visible.append(share)
    return VisibleBoxes(
        np.array(rows, dtype=np.int64),
        np.array(out, dtype=np.float64).reshape(-1, 4),
        np.array(visible, dtype=np.float64),
    )

"""The scene from above: points coloured by height, range rings, boxes with heading and velocity."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from perception.geometry.boxes import box_corners
from perception.visualization.style import (
    BACKGROUND,
    FAINT_INK,
    INK,
    Colour,
    blend_polygon,
    class_colour,
    draw_segments,
    draw_texts,
)
from perception.visualization.wireframe import BOTTOM

HEIGHT_RANGE_M = (-2.5, 2.5)  # LiDAR frame: the road is near -1.8 m under nuScenes' roof mount
_HEIGHT_STOPS = np.array([[38, 56, 92], [52, 98, 140], [92, 150, 165], [168, 196, 186], [236, 232, 208]], np.float64)
EGO_SIZE_M = (4.08, 1.73)  # nuScenes' Renault Zoe
EGO_CENTRE_BEHIND_LIDAR_M = 0.5
_ARROW_S = 1.0  # an arrow reaches where the object will be after this time
_SLOW_MPS = 0.3

Pixels = Callable[[np.ndarray], np.ndarray]  # x y [...,2] in the LiDAR frame (m) -> pixels [...,2]


def height_colours(height_m: np.ndarray) -> np.ndarray:
    """RGB [P,3] uint8 of heights [P] in the LiDAR frame, from blue (road) to pale yellow (roofs)."""
    low, high = HEIGHT_RANGE_M
    position = np.clip((height_m - low) / (high - low), 0, 1) * (len(_HEIGHT_STOPS) - 1)
    channels = [np.interp(position, np.arange(len(_HEIGHT_STOPS)), _HEIGHT_STOPS[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def bev_picture(
    points: np.ndarray,
    class_names: Sequence[str],
    truth: tuple[np.ndarray, np.ndarray],
    found: tuple[np.ndarray, np.ndarray],
    range_m: float,
    size_px: int,
    forward_rad: float,
    ring_m: float,
) -> np.ndarray:
    """RGB picture [size_px,size_px,3] uint8 of +-range_m around the LiDAR, the car's nose up.

    points [P,>=3] (m), truth and found (boxes [K,9], labels [K]), all in the LiDAR frame
    forward_rad: the car's heading there; ring_m: distance between range rings
    Ground truth is a dashed, filled outline, a detection a solid one.
    """
    fine = 2 * size_px  # drawn at twice the size and averaged down: thin lines and small points stay clean
    scale = fine / (2 * range_m)
    cos, sin = np.cos(np.pi / 2 - forward_rad), np.sin(np.pi / 2 - forward_rad)
    pixel_from_lidar = scale * np.array([[cos, -sin], [-sin, -cos]])

    def pixels(xy: np.ndarray) -> np.ndarray:
        return xy @ pixel_from_lidar.T + fine / 2

    canvas = np.full((fine, fine, 3), BACKGROUND, np.uint8)
    texts = [(f"± {range_m:g} m", (24.0, 36.0), 28, INK, False)]
    for radius_m in np.arange(ring_m, range_m * 1.5, ring_m):
        cv2.circle(canvas, (fine // 2, fine // 2), round(radius_m * scale), (44, 52, 66), 2, cv2.LINE_AA)
        place = fine / 2 + radius_m * scale * np.sqrt(0.5)  # to the rear right, where least happens
        texts.append((f"{radius_m:g} m", (place + 8, place + 8), 24, FAINT_INK, False))
    draw_texts(canvas, texts)
    _draw_points(canvas, points, pixels, dot_px=3 if scale < 30 else 4)
    _draw_ego(canvas, scale, fine)
    for (boxes, labels), dashed in ((truth, True), (found, False)):
        colours = [class_colour(class_names[k]) for k in labels]
        _draw_boxes(canvas, boxes, colours, pixels, dashed)
    return cv2.resize(canvas, (size_px, size_px), interpolation=cv2.INTER_AREA)


def _draw_points(canvas: np.ndarray, points: np.ndarray, pixels: Pixels, dot_px: int) -> None:
    points = points[np.argsort(points[:, 2])]  # the highest point of a pixel is seen
    xy = np.floor(pixels(points[:, :2])).astype(np.int64)
    colours = height_colours(points[:, 2])
    for dy in range(dot_px):
        for dx in range(dot_px):
            x, y = xy[:, 0] + dx, xy[:, 1] + dy
            inside = (x >= 0) & (y >= 0) & (x < canvas.shape[1]) & (y < canvas.shape[0])
            canvas[y[inside], x[inside]] = colours[inside]


def _draw_ego(canvas: np.ndarray, scale: float, fine: int) -> None:
    length, width = (side * scale for side in EGO_SIZE_M)
    x, y = fine / 2, fine / 2 + EGO_CENTRE_BEHIND_LIDAR_M * scale
    hood = y - 0.28 * length
    shape = [(x - width / 2, y + length / 2), (x - width / 2, hood), (x, y - length / 2), (x + width / 2, hood)]
    shape.append((x + width / 2, y + length / 2))
    blend_polygon(canvas, np.array(shape), INK, 0.9)


def _draw_boxes(canvas: np.ndarray, boxes: np.ndarray, colours: Sequence[Colour], pixels: Pixels, dashed: bool) -> None:
    if not len(boxes):
        return
    bottoms = box_corners(boxes)[:, BOTTOM, :2]
    for box, bottom, colour in zip(boxes, bottoms, colours, strict=True):
        outline = pixels(bottom)
        centre = pixels(box[:2])
        if dashed:
            blend_polygon(canvas, outline, colour, 0.35)
        sides = np.stack([outline, np.roll(outline, -1, axis=0)], axis=1)
        draw_segments(canvas, sides, colour, 2 if dashed else 4, 8.0 if dashed else 0.0, edge=not dashed)
        nose = np.stack([centre, outline[:2].mean(0)])
        draw_segments(canvas, nose[None], colour, 2 if dashed else 4, edge=False)
        if np.isfinite(box[7:9]).all() and np.linalg.norm(box[7:9]) > _SLOW_MPS:
            _draw_arrow(canvas, centre, pixels(box[:2] + _ARROW_S * box[7:9]), colour, 2 if dashed else 3)


def _draw_arrow(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, colour: Colour, width_px: int) -> None:
    along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-6)
    across = np.array([-along[1], along[0]])
    barbs = [end - 14 * along + side * 7 * across for side in (-1, 1)]
    draw_segments(canvas, np.array([[start, end], [barbs[0], end], [barbs[1], end]]), colour, width_px, edge=False)

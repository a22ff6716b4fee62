"""The mosaic of camera images with box wireframes."""

from collections.abc import Sequence

import cv2
import numpy as np

from perception.geometry.boxes import box_corners
from perception.geometry.camera import project
from perception.visualization.style import (
    FAINT_INK,
    INK,
    PANEL,
    Colour,
    blend_polygon,
    class_colour,
    draw_segments,
    draw_texts,
    text_width,
)
from perception.visualization.wireframe import FRONT, project_edges

# As the driver sees them: the front row, then the rear row as it were mirrored.
PLACES = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT")
COLUMNS = 3
GAP_PX = 4


def camera_mosaic(
    images: Sequence[np.ndarray | None],
    image_from_lidar: np.ndarray,
    camera_names: Sequence[str],
    class_names: Sequence[str],
    truth: tuple[np.ndarray, np.ndarray],
    found: tuple[np.ndarray, np.ndarray],
    width_px: int = 1920,
) -> np.ndarray:
    """RGB picture [H,width_px,3] uint8 of all cameras, three to a row; None for an image draws an empty tile.

    images: RGB [H,W,3] uint8 each; image_from_lidar [N,4,4]. truth and found are (boxes [K,9], labels [K]) in the LiDAR
    frame, drawn dashed and solid. Known nuScenes cameras stand where they look, others follow.
    """
    order = sorted(range(len(images)), key=lambda i: _place(camera_names, i))
    shapes = [image.shape[:2] for image in images if image is not None] or [(900, 1600)]
    tile_width = (width_px - GAP_PX * (COLUMNS - 1)) // COLUMNS
    tile_height = round(tile_width * shapes[0][0] / shapes[0][1])
    rows = -(-len(images) // COLUMNS)
    picture = np.full((rows * tile_height + (rows - 1) * GAP_PX, width_px, 3), PANEL, np.uint8)
    for slot, i in enumerate(order):
        name = camera_names[i] if i < len(camera_names) else f"camera {i}"
        tile = _tile(images[i], image_from_lidar[i], (tile_width, tile_height), name, class_names, truth, found)
        y, x = (slot // COLUMNS) * (tile_height + GAP_PX), (slot % COLUMNS) * (tile_width + GAP_PX)
        picture[y : y + tile_height, x : x + tile_width] = tile
    return picture


def _place(camera_names: Sequence[str], i: int) -> int:
    known = i < len(camera_names) and camera_names[i] in PLACES
    return PLACES.index(camera_names[i]) if known else len(PLACES) + i


def _tile(
    image: np.ndarray | None,
    image_from_lidar: np.ndarray,
    size_px: tuple[int, int],
    name: str,
    class_names: Sequence[str],
    truth: tuple[np.ndarray, np.ndarray],
    found: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    width, height = size_px
    label = name.removeprefix("CAM_").replace("_", " ").lower()
    if image is None:
        tile = np.full((height, width, 3), PANEL, np.uint8)
        draw_texts(tile, [(f"{label}: no image", (width / 2, height / 2), 18, FAINT_INK, False)], anchor="mm")
        return tile
    tile = np.zeros((height, width, 3), np.uint8)
    cv2.resize(image, size_px, dst=tile, interpolation=cv2.INTER_AREA)
    # Pixel centres stand at whole numbers: scaling maps u to (u + 0.5) * scale - 0.5.
    sx, sy = width / image.shape[1], height / image.shape[0]
    tile_from_image = np.diag([sx, sy, 1.0, 1.0])
    tile_from_image[:2, 2] = (sx - 1) / 2, (sy - 1) / 2
    tile_from_lidar = tile_from_image @ image_from_lidar
    for (boxes, labels), dash_px in ((truth, 4.0), (found, 0.0)):
        _draw_boxes(tile, boxes, [class_colour(class_names[k]) for k in labels], tile_from_lidar, dash_px)
    cv2.rectangle(tile, (0, 0), (text_width(label, 14) + 18, 26), (0, 0, 0), -1)
    draw_texts(tile, [(label, (9, 13), 14, INK, False)])
    return tile


def _draw_boxes(
    tile: np.ndarray, boxes: np.ndarray, colours: Sequence[Colour], tile_from_lidar: np.ndarray, dash_px: float
) -> None:
    if not len(boxes):
        return
    corners = box_corners(boxes)
    depth = project(tile_from_lidar, boxes[:, :3])[1]
    for k in np.argsort(-depth):  # near boxes over far ones
        front, front_depth = project(tile_from_lidar, corners[k, FRONT])
        if not dash_px and front_depth.min() > 0.5:
            blend_polygon(tile, front, colours[k], 0.25)
        draw_segments(tile, project_edges(corners[k], tile_from_lidar), colours[k], 1, dash_px, edge=not dash_px)

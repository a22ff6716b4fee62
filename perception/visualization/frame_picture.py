"""One picture of one frame: every camera, the scene from above, ground truth and detections."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from perception.visualization.bev_picture import HEIGHT_RANGE_M, bev_picture, height_colours
from perception.visualization.camera_picture import camera_mosaic
from perception.visualization.style import (
    BACKGROUND,
    FAINT_INK,
    INK,
    class_colour,
    draw_segments,
    draw_texts,
    text_width,
)

WIDTH_PX = 1920
GAP_PX = 8
NEAR_RANGE_M = 20.0


def frame_picture(
    images: Sequence[np.ndarray | None],
    image_from_lidar: np.ndarray,
    points: np.ndarray,
    class_names: Sequence[str],
    *,
    gt_boxes: np.ndarray | None = None,
    gt_labels: np.ndarray | None = None,
    pred_boxes: np.ndarray | None = None,
    pred_scores: np.ndarray | None = None,
    pred_labels: np.ndarray | None = None,
    camera_names: Sequence[str] = (),
    title: str = "",
    score_threshold: float = 0.3,
    range_m: float = 54.0,
    forward_rad: float = math.pi / 2,
) -> np.ndarray:
    """RGB picture [H,1920,3] uint8: camera mosaic, legend, and the scene from above, whole and near.

    images: RGB [H,W,3] uint8 or None each; image_from_lidar [N,4,4] (LiDAR frame, m, to px); points [P,>=3].
    gt_boxes, pred_boxes [K,9] in the LiDAR frame (gravity centre), with labels [K] into class_names and scores [K];
    detections below score_threshold are left out. forward_rad: the car's heading in the LiDAR frame (nuScenes: +y).
    Raises ValueError where the numbers of images, matrices, boxes, labels or scores disagree.
    """
    truth = _drawable("ground truth", gt_boxes, gt_labels)
    found = _drawable("detections", pred_boxes, pred_labels, pred_scores, score_threshold)
    if len(images) != len(image_from_lidar):
        raise ValueError(f"{len(images)} images but {len(image_from_lidar)} matrices image_from_lidar")
    points = np.asarray(points)
    points = points[np.isfinite(points[:, :3]).all(1)]

    parts = [_legend(class_names, truth, found, title, gt_boxes is not None, pred_boxes is not None, score_threshold)]
    if len(images):
        parts.insert(0, camera_mosaic(images, image_from_lidar, camera_names, class_names, truth, found, WIDTH_PX))
    half = (WIDTH_PX - GAP_PX) // 2
    whole = bev_picture(points, class_names, truth, found, range_m, half, forward_rad, ring_m=20.0)
    near = bev_picture(points, class_names, truth, found, NEAR_RANGE_M, half, forward_rad, ring_m=5.0)
    gap = np.full((half, GAP_PX, 3), INK, np.uint8) // 4
    parts.append(np.concatenate([whole, gap, near], axis=1))
    return np.concatenate(parts)


def write_png(path: str | Path, picture: np.ndarray) -> Path:
    """Write an RGB picture [H,W,3] uint8 as PNG, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data.tobytes())
    os.replace(temporary, path)
    return path


def _drawable(
    what: str,
    boxes: np.ndarray | None,
    labels: np.ndarray | None,
    scores: np.ndarray | None = None,
    score_threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [K,9] float64 and labels [K], without those of low score and those that a NaN keeps from being drawn."""
    table = np.zeros((0, 9)) if boxes is None else np.asarray(boxes, np.float64).reshape(-1, 9)
    kinds = np.zeros(0, np.int64) if labels is None else np.asarray(labels, np.int64).reshape(-1)
    rank = np.ones(len(table)) if scores is None else np.asarray(scores, np.float64).reshape(-1)
    if not len(table) == len(kinds) == len(rank):
        raise ValueError(f"{what}: {len(table)} boxes, {len(kinds)} labels, {len(rank)} scores")
    keep = np.isfinite(table[:, :7]).all(1) & (rank >= score_threshold)
    return table[keep], kinds[keep]


def _legend(
    class_names: Sequence[str],
    truth: tuple[np.ndarray, np.ndarray],
    found: tuple[np.ndarray, np.ndarray],
    title: str,
    has_truth: bool,
    has_found: bool,
    score_threshold: float,
) -> np.ndarray:
    strip = np.full((92, WIDTH_PX, 3), BACKGROUND, np.uint8)
    texts = [(title, (16.0, 24.0), 19, INK, True)]
    x = WIDTH_PX - 16.0
    # Right to left on the upper line: the height scale, then the line styles.
    low, high = HEIGHT_RANGE_M
    x -= text_width(label := f"{high:+.1f} m", 14)
    texts.append((label, (x, 24.0), 14, FAINT_INK, False))
    x -= 128
    strip[18:30, int(x) : int(x) + 120] = height_colours(np.linspace(low, high, 120))[None]
    x -= 8 + text_width(label := f"height {low:+.1f}", 14)
    texts.append((label, (x, 24.0), 14, FAINT_INK, False))
    detection = f"detection (score ≥ {score_threshold:g})" if score_threshold > 0 else "detection"
    styles = [("ground truth", 6.0)] * has_truth + [(detection, 0.0)] * has_found
    for label, dash_px in reversed(styles):
        x -= 28 + text_width(label, 14)
        texts.append((label, (x, 24.0), 14, INK, False))
        x -= 46
        draw_segments(strip, np.array([[[x, 24.0], [x + 38, 24.0]]]), INK, 2, dash_px, edge=False)

    x = 16.0
    for k, name in enumerate(class_names):
        counts = [int((labels == k).sum()) for labels, shown in ((truth[1], has_truth), (found[1], has_found)) if shown]
        if not any(counts):
            continue
        cv2.rectangle(strip, (int(x), 58), (int(x) + 16, 74), class_colour(name), -1)
        x += 24
        label = name.replace("_", " ")
        texts.append((label, (x, 66.0), 15, INK, False))
        x += text_width(label, 15) + 8
        texts.append((count := " / ".join(map(str, counts)), (x, 66.0), 15, FAINT_INK, False))
        x += text_width(count, 15) + 26
    draw_texts(strip, texts)
    return strip

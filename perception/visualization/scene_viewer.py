"""An interactive viewer of a scene in one HTML file: it opens offline, without a server or a library.

The page (scene_viewer.html) draws on a 2D canvas, so it needs neither WebGL nor a graphics card.
"""

import base64
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception.geometry import compose_image_from_lidar
from perception.visualization.bev_picture import EGO_CENTRE_BEHIND_LIDAR_M, EGO_SIZE_M
from perception.visualization.camera_picture import PLACES
from perception.visualization.style import ERROR_COLOURS, class_colour

IMAGE_WIDTH_PX = 480
MAX_POINTS = 40_000
_REACH_M = 300.0  # int16 centimetres
_EGO_HEIGHT_M = 1.56


def viewer_frame(
    sample: Mapping[str, Any],
    class_names: Sequence[str],
    *,
    gt_boxes: np.ndarray | None = None,
    gt_labels: np.ndarray | None = None,
    gt_points: np.ndarray | None = None,
    gt_kinds: Sequence[str] = (),
    pred_boxes: np.ndarray | None = None,
    pred_labels: np.ndarray | None = None,
    pred_scores: np.ndarray | None = None,
    pred_kinds: Sequence[str] = (),
) -> dict[str, Any]:
    """A frame for `write_viewer`: sensors of a loaded sample, boxes [K,9] in its LiDAR frame.

    gt_points: LiDAR points [K] in each object, -1 where unknown. kinds: one of evaluation.frame_errors.KINDS per box,
    or "" for none; empty where errors are not known. Points beyond MAX_POINTS are thinned out evenly.
    """
    points = np.asarray(sample["points"])
    points = points[np.isfinite(points[:, :4]).all(1) & (np.abs(points[:, :3]) < _REACH_M).all(1)]
    points = points[:: max(1, -(-len(points) // MAX_POINTS))]
    ego_from_lidar = np.asarray(sample["lidar_points"].get("lidar2ego", np.eye(4)))
    truth = _boxes(gt_boxes, gt_labels, gt_kinds, class_names)
    for row, count in zip(truth, gt_points if gt_points is not None else [-1] * len(truth), strict=True):
        row["points"] = int(count)
    found = _boxes(pred_boxes, pred_labels, pred_kinds, class_names)
    for row, score in zip(found, pred_scores if pred_scores is not None else [1.0] * len(found), strict=True):
        row["score"] = round(float(score), 4)
    for number, row in enumerate([*truth, *found]):
        row["id"] = number
    return {
        "title": f"{sample.get('scene_name', '')} · {sample['token']}".lstrip(" ·"),
        "points": _base64(np.round(points[:, :3] * 100).astype("<i2")),
        "intensity": _base64(np.clip(points[:, 3], 0, 255).astype(np.uint8)),
        "cameras": _cameras(sample),
        "truth": truth,
        "found": found,
        "forward": math.atan2(ego_from_lidar[0, 1], ego_from_lidar[0, 0]),
        "ground": -float(ego_from_lidar[2, 3]) or -1.8,
    }


def write_viewer(
    path: str | Path, frames: Sequence[dict[str, Any]], class_names: Sequence[str], score: float = 0.3
) -> Path:
    """Write the page with its frames, whole or not at all; score: detections below it are hidden at first.

    Raises ValueError without frames.
    """
    if not frames:
        raise ValueError("a viewer needs at least one frame")
    forward, ground = frames[0]["forward"], frames[0]["ground"]
    back = EGO_CENTRE_BEHIND_LIDAR_M
    ego = [-back * math.cos(forward), -back * math.sin(forward), ground + _EGO_HEIGHT_M / 2, *EGO_SIZE_M, _EGO_HEIGHT_M]
    content = {
        "frames": list(frames),
        "classes": {name: class_colour(name) for name in class_names},
        "kinds": ERROR_COLOURS,
        "score": score,
        "forward": forward,
        "ground": ground,
        "ego": [*ego, forward, 0.0, 0.0],
    }
    # "</script>" in a name would end the data early.
    text = json.dumps(content, allow_nan=False).replace("</", "<\\/")
    template = (files("perception.visualization") / "scene_viewer.html").read_text(encoding="utf-8")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(template.replace("/*DATA*/", text, 1), encoding="utf-8")
    os.replace(temporary, path)
    return path


def _boxes(
    boxes: np.ndarray | None, labels: np.ndarray | None, kinds: Sequence[str], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    if boxes is None or labels is None:
        return []
    named = list(kinds) or [""] * len(boxes)
    return [
        {
            "box": [round(float(v), 3) if np.isfinite(v) else None for v in box],
            "name": class_names[label],
            "kind": kind,
        }
        for box, label, kind in zip(boxes, labels, named, strict=True)
    ]


def _cameras(sample: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Images shrunk to IMAGE_WIDTH_PX with their matrices, in the order in which the driver sees them."""
    rows = []
    for i, name in enumerate(sample["cameras"]):
        image = sample["camera_images"][i]
        height, width = (90, 160) if image is None else image.shape[:2]
        scale = min(1.0, IMAGE_WIDTH_PX / width)
        size = round(width * scale), round(height * scale)
        matrix = np.diag([size[0] / width, size[1] / height, 1.0, 1.0])
        # Pixel centres stand at whole numbers here and at halves on a canvas.
        matrix[:2, 2] = size[0] / width / 2, size[1] / height / 2
        matrix = matrix @ compose_image_from_lidar(
            sample["camera_from_lidar"][i], sample["intrinsics"][i], sample["image_aug"][i]
        )
        source = None
        if image is not None:
            small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
            data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
            source = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
        rows.append(
            {
                "name": name,
                "width": size[0],
                "height": size[1],
                "image": source,
                "matrix": [round(float(v), 6) for v in matrix[:3].reshape(-1)],
            }
        )
    return sorted(rows, key=lambda row: PLACES.index(row["name"]) if row["name"] in PLACES else len(PLACES))


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()

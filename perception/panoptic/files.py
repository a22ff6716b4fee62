"""Panoptic files in COCO's format: a JSON file beside a folder of PNGs, whose colours are segment numbers.

A file `panoptic_val.json` has its PNGs in `panoptic_val/`. A pixel's segment is R + 256 G + 65536 B; 0 is void. Point
labels are a JSON file of their own: the same images and categories, and in place of segments
{"image_id", "targets": [{"category_id", "points": [[x, y], ...]}]} in whole pixels of the recorded image.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception.datasets.nuscenes_infos import CLASSES

STUFF = ("ground", "structure", "sky")


def categories() -> list[dict[str, Any]]:
    """The ten nuScenes classes, then what is seen behind them."""
    names = (*CLASSES, *STUFF)
    return [{"id": i, "name": name, "isthing": int(name not in STUFF)} for i, name in enumerate(names, start=1)]


def read_json(path: str | Path, needed: tuple[str, ...] = ("images", "annotations", "categories")) -> dict[str, Any]:
    """A panoptic or point label file.

    Raises FileNotFoundError, or ValueError naming the file, when it is missing, no JSON, or lacks one of `needed`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no panoptic file {path}; make it with tools/create_data.py")
    try:
        content = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); make it anew with tools/create_data.py") from error
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{path} is no panoptic file: it lacks {', '.join(missing)}")
    return dict(content)


def segment_folder(path: str | Path) -> Path:
    """The folder of a panoptic file's PNGs."""
    return Path(path).with_suffix("")


def write_segments(path: Path, segment: np.ndarray) -> None:
    """Write segment numbers [H,W] (0: void) as a PNG."""
    ids = segment.astype(np.uint32)
    bgr = np.stack((ids >> 16, ids >> 8 & 255, ids & 255), axis=-1).astype(np.uint8)
    if not cv2.imwrite(str(path), bgr):
        raise OSError(f"{path}: OpenCV could not write the segments")


def read_segments(path: Path) -> np.ndarray:
    """Segment numbers [H,W] int64 of a PNG. Raises FileNotFoundError, or ValueError where it is no picture."""
    if not path.is_file():
        raise FileNotFoundError(f"panoptic PNG is missing: {path}")
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"not a PNG: {path}")
    return bgr[..., 2].astype(np.int64) + 256 * bgr[..., 1].astype(np.int64) + 65536 * bgr[..., 0].astype(np.int64)


def segments_info(segment: np.ndarray, category_of: dict[int, int]) -> list[dict[str, Any]]:
    """COCO's entries of the segments in [H,W], by their number's category id."""
    numbers, counts = np.unique(segment, return_counts=True)
    out = []
    for number, area in zip(numbers.tolist(), counts.tolist(), strict=True):
        if number == 0:
            continue
        rows, columns = np.nonzero(segment == number)
        x, y = int(columns.min()), int(rows.min())
        box = [x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1]
        out.append({"id": number, "category_id": category_of[number], "area": area, "bbox": box, "iscrowd": 0})
    return out

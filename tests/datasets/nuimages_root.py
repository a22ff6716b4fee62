"""A nuImages dataroot of three images, small enough to check by hand, in the tables that nuscenes-devkit reads."""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

SIZE = (900, 1600)
CATEGORIES = ("vehicle.car", "human.pedestrian.adult", "animal", "vehicle.bus.rigid")
# image, category, box x1 y1 x2 y2; the pedestrian has no mask.
OBJECTS = (
    (0, "vehicle.car", (100, 400, 300, 500)),
    (0, "human.pedestrian.adult", (800, 380, 830, 470)),
    (0, "animal", (20, 20, 60, 60)),
    (2, "vehicle.bus.rigid", (0, 100, 900, 800)),
)


def encoded_mask(box: tuple[int, int, int, int]) -> dict[str, Any]:
    """The upper half of a box, run-length coded as nuImages has it."""
    mask = np.zeros(SIZE, dtype=np.uint8, order="F")
    x1, y1, x2, y2 = box
    mask[y1 : (y1 + y2) // 2, x1:x2] = 1
    return {"size": list(SIZE), "counts": base64.b64encode(coco_mask.encode(mask)["counts"]).decode()}


def write_nuimages(root: Path, version: str = "v1.0-mini") -> Path:
    """Three images, of which the last but one is no key frame and has no file."""
    frames = []
    for i in range(3):
        key = i != 1
        name = f"{'samples' if key else 'sweeps'}/CAM_FRONT/{i}.jpg"
        if key:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name), np.zeros((*SIZE, 3), dtype=np.uint8))
        frames.append(
            {
                "token": f"frame{i}", "sample_token": f"sample{i}", "ego_pose_token": "pose", "filename": name,
                "calibrated_sensor_token": "calibrated", "timestamp": i, "fileformat": "jpg", "is_key_frame": key,
                "height": SIZE[0], "width": SIZE[1], "prev": "", "next": "",
            }
        )  # fmt: skip
    objects = [
        {
            "token": f"object{i}", "sample_data_token": f"frame{image}", "category_token": category,
            "attribute_tokens": [], "bbox": list(box), "mask": None if "human" in category else encoded_mask(box),
        }
        for i, (image, category, box) in enumerate(OBJECTS)
    ]  # fmt: skip
    tables = {
        "attribute": [], "ego_pose": [], "log": [], "sample": [], "surface_ann": [],
        "category": [{"token": name, "name": name, "description": ""} for name in CATEGORIES],
        "sensor": [{"token": "sensor", "channel": "CAM_FRONT", "modality": "camera"}],
        "calibrated_sensor": [{"token": "calibrated", "sensor_token": "sensor"}],
        "sample_data": frames,
        "object_ann": objects,
    }  # fmt: skip
    (root / version).mkdir(parents=True)
    for name, rows in tables.items():
        (root / version / f"{name}.json").write_text(json.dumps(rows))
    return root

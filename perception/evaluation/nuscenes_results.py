"""Boxes in the LiDAR frame -> the official nuScenes detection submission.

Format: https://www.nuscenes.org/object-detection, "Results format". nuScenes orders sizes as width, length, height and
writes poses in the global frame.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES, DETECTION_NAMES
from nuscenes.eval.detection.utils import detection_name_to_rel_attributes

from perception.evaluation.json_file import write_json
from perception.geometry.boxes import boxes_to_global

MAX_BOXES_PER_SAMPLE = 500  # the challenge's own limit
MOVING_SPEED_MPS = 0.2  # CenterPoint's nuScenes post-processing

# CenterPoint's rule: a moving object's attribute, and one at rest.
MOVING_AND_RESTING = {
    "car": ("vehicle.moving", "vehicle.parked"),
    "truck": ("vehicle.moving", "vehicle.parked"),
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "trailer": ("vehicle.moving", "vehicle.parked"),
    "construction_vehicle": ("vehicle.moving", "vehicle.parked"),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    "motorcycle": ("cycle.with_rider", "cycle.without_rider"),
    "bicycle": ("cycle.with_rider", "cycle.without_rider"),
    "traffic_cone": ("", ""),
    "barrier": ("", ""),
}


def attribute_of(class_name: str, speed_mps: float, predicted: int = -1) -> str:
    """Attribute name of a box: the predicted one where it suits the class, else by the speed.

    predicted: index into the devkit's ATTRIBUTE_NAMES, or -1 for none.
    """
    if predicted >= 0:
        if predicted >= len(ATTRIBUTE_NAMES):
            raise ValueError(
                f"attribute index {predicted} is outside 0..{len(ATTRIBUTE_NAMES) - 1} ({ATTRIBUTE_NAMES})"
            )
        if ATTRIBUTE_NAMES[predicted] in detection_name_to_rel_attributes(class_name):
            return ATTRIBUTE_NAMES[predicted]
    moving, resting = MOVING_AND_RESTING[class_name]
    return moving if speed_mps > MOVING_SPEED_MPS else resting


class NuScenesResults:
    """Collects the detections of many samples and writes them as one submission file.

    class_names: name of each label; each is one of the ten nuScenes detection classes.
    Counts what it had to mend: `dropped` boxes (a NaN, an infinity or a size of zero or less) and `stilled` boxes
    (a velocity that is not a number, written as zero).
    """

    def __init__(
        self, class_names: Sequence[str] = DETECTION_NAMES, *, use_camera: bool = True, use_lidar: bool = True
    ) -> None:
        unknown = sorted(set(class_names) - set(DETECTION_NAMES))
        if unknown:
            raise ValueError(f"classes {unknown} are not nuScenes detection classes; allowed: {DETECTION_NAMES}")
        self.class_names = list(class_names)
        self.meta = {
            "use_camera": use_camera,
            "use_lidar": use_lidar,
            "use_radar": False,
            "use_map": False,
            "use_external": False,
        }
        self.samples: dict[str, list[dict[str, Any]]] = {}
        self.dropped = 0
        self.stilled = 0

    def add(
        self,
        token: str,
        boxes: np.ndarray,
        scores: np.ndarray,
        labels: np.ndarray,
        global_from_lidar: np.ndarray,
        attributes: np.ndarray | None = None,
    ) -> None:
        """Add one sample's detections; of more than 500, the 500 best-scored stay.

        boxes [K,9]: x y z of the gravity centre, length width height, yaw, vx vy (m, rad, m/s; LiDAR frame)
        scores [K]; labels [K] indices into class_names; attributes [K] indices into ATTRIBUTE_NAMES, -1 for none
        global_from_lidar [4,4]

        Raises ValueError on a sample added twice, wrong shapes, or a label or transform that cannot be.
        """
        boxes = np.asarray(boxes, np.float64).reshape(-1, 9)
        scores = np.asarray(scores, np.float64).reshape(-1)
        labels = np.asarray(labels, np.int64).reshape(-1)
        chosen = np.full(len(boxes), -1) if attributes is None else np.asarray(attributes, np.int64).reshape(-1)
        if token in self.samples:
            raise ValueError(f"sample {token} was added twice")
        if not len(boxes) == len(scores) == len(labels) == len(chosen):
            raise ValueError(
                f"sample {token}: {len(boxes)} boxes, {len(scores)} scores, {len(labels)} labels, "
                f"{len(chosen)} attributes"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            raise ValueError(f"sample {token}: a label is outside 0..{len(self.class_names) - 1}")

        global_from_lidar = _rigid(global_from_lidar, token)
        usable = np.isfinite(boxes[:, :7]).all(1) & (boxes[:, 3:6] > 0).all(1) & np.isfinite(scores)
        self.dropped += int((~usable).sum())
        keep = np.flatnonzero(usable)
        keep = keep[np.argsort(-scores[keep], kind="stable")][:MAX_BOXES_PER_SAMPLE]
        boxes, scores, labels, chosen = boxes[keep], scores[keep], labels[keep], chosen[keep]

        known = np.isfinite(boxes[:, 7:9]).all(1)
        self.stilled += int((~known).sum())
        boxes[~known, 7:9] = 0.0
        speeds = np.linalg.norm(boxes[:, 7:9], axis=1)
        centres, sizes, quaternions, velocities = boxes_to_global(global_from_lidar, boxes)

        self.samples[token] = [
            {
                "sample_token": token,
                "translation": centres[k].tolist(),
                "size": sizes[k].tolist(),
                "rotation": quaternions[k].tolist(),
                "velocity": velocities[k].tolist(),
                "detection_name": (name := self.class_names[labels[k]]),
                "detection_score": float(scores[k]),
                "attribute_name": attribute_of(name, float(speeds[k]), int(chosen[k])),
            }
            for k in range(len(boxes))
        ]

    def write(self, path: str | Path) -> Path:
        """Write the submission JSON; what was mended is logged once, with its count."""
        if self.dropped:
            text = f"{self.dropped} boxes were dropped: a NaN, an infinity, or a size of zero or less"
            print_log(text, "current", logging.WARNING)
        if self.stilled:
            text = f"{self.stilled} boxes without a finite velocity were written with velocity 0"
            print_log(text, "current", logging.WARNING)
        return write_json(path, {"meta": self.meta, "results": self.samples})


def _rigid(pose: np.ndarray, token: str) -> np.ndarray:
    """The pose [4,4] as float64, checked to turn and shift only."""
    pose = np.asarray(pose, np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError(f"sample {token}: global_from_lidar must be a finite [4,4] matrix, got shape {pose.shape}")
    rotation = pose[:3, :3]
    # float32 matrices are rotations to about 1e-6.
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise ValueError(f"sample {token}: global_from_lidar is not a rotation and a shift")
    return pose

"""Pictures of a data set's samples, with the boxes of a submission file where there is one."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perception.geometry import box_from_global, compose_image_from_lidar, invert
from perception.visualization.frame_picture import frame_picture

Results = Mapping[str, Sequence[Mapping[str, Any]]]


def read_results(path: str | Path) -> Results:
    """Detections by sample token of a nuScenes submission file; ValueError naming the file where it is none."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no submission file {path}")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["results"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is no nuScenes submission: it needs "results" by sample token') from error


def sample_picture(
    sample: Mapping[str, Any],
    class_names: Sequence[str],
    detections: Sequence[Mapping[str, Any]] | None = None,
    score_threshold: float = 0.3,
    range_m: float = 54.0,
) -> np.ndarray:
    """RGB picture [H,1920,3] uint8 of a sample that LoadSweeps and LoadCameras have filled, as frame_picture draws it.

    Ground truth is taken from its eval_ann_info or ann_info; detections are entries of a submission, global frame.
    """
    truth = sample.get("eval_ann_info") or sample.get("ann_info") or {}
    ego_from_lidar = np.asarray(sample["lidar_points"].get("lidar2ego", np.eye(4)))
    boxes: dict[str, Any] = {}
    if "gt_bboxes_3d" in truth:
        table = truth["gt_bboxes_3d"].tensor.numpy().copy()
        table[:, 2] += table[:, 5] / 2  # mmdet3d's boxes stand on their bottom centre
        boxes |= {"gt_boxes": table, "gt_labels": truth["gt_labels_3d"]}
    if detections is not None:
        lidar_from_global = invert(np.asarray(sample["ego2global"]) @ ego_from_lidar)
        known = [d for d in detections if d["detection_name"] in class_names]
        rows = [
            box_from_global(lidar_from_global, d["translation"], d["size"], d["rotation"], d["velocity"]) for d in known
        ]
        boxes |= {
            "pred_boxes": np.array(rows).reshape(-1, 9),
            "pred_labels": np.array([list(class_names).index(d["detection_name"]) for d in known], np.int64),
            "pred_scores": np.array([d["detection_score"] for d in known], np.float64),
        }
    matrices = [
        compose_image_from_lidar(*calibration)
        for calibration in zip(sample["camera_from_lidar"], sample["intrinsics"], sample["image_aug"], strict=True)
    ]
    forward = ego_from_lidar[0, :2]  # the ego frame's x, seen from the LiDAR frame
    return frame_picture(
        sample["camera_images"],
        np.array(matrices).reshape(-1, 4, 4),
        sample["points"],
        class_names,
        **boxes,
        camera_names=sample["cameras"],
        title=f"{sample.get('scene_name', sample.get('scene_token', ''))} · {sample['token']}",
        score_threshold=score_threshold,
        range_m=range_m,
        forward_rad=math.atan2(forward[1], forward[0]),
    )

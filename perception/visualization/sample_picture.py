"""Pictures of a data set's samples, with the boxes of a submission file where there is one."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes

from perception.datasets.info_files import resolve_entry
from perception.datasets.nuscenes_infos import sample_entry
from perception.datasets.transforms import LoadCameras, LoadSweeps
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


def load_sample(nusc: NuScenes, token: str, sweeps: int = 0) -> dict[str, Any]:
    """A sample of the tables with its points and full-size images, as `sample_picture` takes it (without
    annotations)."""
    entry = sample_entry(nusc, token, 0, sweeps)
    entry.pop("instances")
    resolve_entry(entry, nusc.dataroot)
    return LoadCameras(skip_missing=True).transform(LoadSweeps(sweeps).transform(entry))


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
    boxes = boxes_to_draw(sample, class_names, detections)
    return draw_sample(sample, class_names, boxes, score_threshold=score_threshold, range_m=range_m)


def boxes_to_draw(
    sample: Mapping[str, Any], class_names: Sequence[str], detections: Sequence[Mapping[str, Any]] | None
) -> dict[str, Any]:
    """Ground truth and detections of a sample as gt_ and pred_ boxes [K,9], labels and scores, of those there are."""
    truth = sample.get("eval_ann_info") or sample.get("ann_info") or {}
    boxes: dict[str, Any] = {}
    if "gt_bboxes_3d" in truth:
        table = truth["gt_bboxes_3d"].tensor.numpy().copy()
        table[:, 2] += table[:, 5] / 2  # mmdet3d's boxes stand on their bottom centre
        boxes |= {"gt_boxes": table, "gt_labels": truth["gt_labels_3d"]}
    if detections is not None:
        known = [d for d in detections if d["detection_name"] in class_names]
        boxes |= {
            "pred_boxes": boxes_of_sample(sample, known),
            "pred_labels": np.array([list(class_names).index(d["detection_name"]) for d in known], np.int64),
            "pred_scores": np.array([d["detection_score"] for d in known], np.float64),
        }
    return boxes


def boxes_of_sample(sample: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Boxes [K,9] in a sample's LiDAR frame of rows with a submission's translation, size, rotation and velocity."""
    lidar_from_global = invert(np.asarray(sample["ego2global"]) @ _ego_from_lidar(sample))
    boxes = [
        box_from_global(lidar_from_global, row["translation"], row["size"], row["rotation"], row["velocity"])
        for row in rows
    ]
    return np.array(boxes).reshape(-1, 9)


def draw_sample(
    sample: Mapping[str, Any], class_names: Sequence[str], boxes: Mapping[str, Any], title: str = "", **options: Any
) -> np.ndarray:
    """frame_picture of a loaded sample: its sensors, its title, and `boxes` as frame_picture's gt_ and pred_
    arguments."""
    matrices = [
        compose_image_from_lidar(*calibration)
        for calibration in zip(sample["camera_from_lidar"], sample["intrinsics"], sample["image_aug"], strict=True)
    ]
    forward = _ego_from_lidar(sample)[0, :2]  # the ego frame's x, seen from the LiDAR frame
    return frame_picture(
        sample["camera_images"],
        np.array(matrices).reshape(-1, 4, 4),
        sample["points"],
        class_names,
        **boxes,
        camera_names=sample["cameras"],
        title=title or f"{sample.get('scene_name', sample.get('scene_token', ''))} · {sample['token']}",
        forward_rad=math.atan2(forward[1], forward[0]),
        **options,
    )


def _ego_from_lidar(sample: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(sample["lidar_points"].get("lidar2ego", np.eye(4)))

"""Scores of frames that are not nuScenes', by nuScenes' own measure: AP by the distance of centres."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.utils import center_distance
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp

from perception.evaluation.json_file import write_json

DISTANCES_M = (0.5, 1.0, 2.0, 4.0)  # nuScenes'
_TP_DISTANCE_M, _MIN_RECALL, _MIN_PRECISION = 2.0, 0.1, 0.1
_TP_ERRORS = {"trans_err": "mATE", "scale_err": "mASE", "orient_err": "mAOE"}


@dataclass(frozen=True)
class _Box:
    """What nuscenes-devkit's matching asks of a box; its own class knows ten names only."""

    sample_token: str
    detection_name: str
    translation: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    detection_score: float = -1.0
    velocity: tuple[float, float] = (0.0, 0.0)
    attribute_name: str = ""


@METRICS.register_module()
class OwnFramesMetric(BaseMetric):
    """mAP over the classes of the data set, at nuScenes' four distances of centres, and errors of true positives.

    Boxes are compared in the LiDAR frame, all that the data set has, near or far. nuscenes-devkit matches and averages
    (Caesar et al., CVPR 2020, section 3.1); velocity and attributes, which other data sets lack, are left out, so that
    there is no NDS.

    out_dir: receives `scores.json`, {mAP, AP {class: AP}, AP_per_distance, present {class: boxes}, mATE, mASE, mAOE}
    """

    default_prefix = "own"

    def __init__(self, out_dir: str, collect_device: str = "cpu", prefix: str | None = None) -> None:
        collect_dir = str(Path(out_dir) / "parts") if collect_device == "cpu" else None
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.out_dir = Path(out_dir)
        self.scores: dict[str, Any] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the predicted and the annotated boxes of one batch."""
        for sample in data_samples:
            found, truth = sample["pred_instances_3d"], sample["eval_ann_info"]
            annotated = truth["gt_bboxes_3d"]
            boxes = np.concatenate((annotated.gravity_center.numpy(), annotated.tensor[:, 3:7].numpy()), axis=1)
            self.results.append(
                {
                    "token": sample["token"],
                    "found": found["boxes"].cpu().numpy()[:, :7],
                    "scores": found["scores_3d"].cpu().numpy(),
                    "found_labels": found["labels_3d"].cpu().numpy(),
                    "truth": boxes,
                    "truth_labels": np.asarray(truth["gt_labels_3d"]),
                }
            )

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Write scores.json; returns mAP and the AP per class that is present."""
        assert self.dataset_meta is not None
        names = list(self.dataset_meta["classes"])
        found, truth = EvalBoxes(), EvalBoxes()
        for row in results:
            found.add_boxes(row["token"], _boxes(row["token"], names, row["found"], row["found_labels"], row["scores"]))
            truth.add_boxes(row["token"], _boxes(row["token"], names, row["truth"], row["truth_labels"], None))
        present = {name: sum(box.detection_name == name for box in truth.all) for name in names}
        present = {name: count for name, count in present.items() if count}
        per_distance: dict[str, dict[str, float]] = {}
        errors: dict[str, list[float]] = {short: [] for short in _TP_ERRORS.values()}
        for name in present:
            curves = {d: accumulate(truth, found, name, center_distance, d) for d in DISTANCES_M}
            per_distance[name] = {str(d): calc_ap(curves[d], _MIN_RECALL, _MIN_PRECISION) for d in DISTANCES_M}
            for key, short in _TP_ERRORS.items():
                errors[short].append(calc_tp(curves[_TP_DISTANCE_M], _MIN_RECALL, key))
        ap = {name: float(np.mean(list(values.values()))) for name, values in per_distance.items()}
        self.scores = {
            "mAP": float(np.mean(list(ap.values()))) if ap else None,
            "AP": ap,
            "AP_per_distance": per_distance,
            "present": present,
            **{short: float(np.mean(values)) if values else None for short, values in errors.items()},
        }
        write_json(self.out_dir / "scores.json", self.scores, indent=1)
        flat = {"mAP": self.scores["mAP"]} if ap else {}
        return flat | {f"AP/{name}": value for name, value in ap.items()}


def _boxes(
    token: str, names: list[str], boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray | None
) -> list[_Box]:
    out = []
    for i, (x, y, z, length, width, height, yaw) in enumerate(boxes.astype(float).tolist()):
        rotation = (float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2)))
        score = -1.0 if scores is None else float(scores[i])
        out.append(_Box(token, names[int(labels[i])], (x, y, z), (width, length, height), rotation, score))
    return out

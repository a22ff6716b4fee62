"""The official nuScenes detection score of a submission file, as one plain dictionary.

nuscenes-devkit does the scoring: its loaders, its filters, its matching, its averages (Caesar et al., CVPR 2020,
section 3.1). Added here are only what it refuses: a subset of a split's samples, and a submission without a single box.
"""

import contextlib
import io
import json
import os
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes, load_gt_of_sample_tokens, load_prediction
from nuscenes.eval.detection.data_classes import DetectionBox, DetectionConfig
from nuscenes.eval.detection.evaluate import NuScenesEval
from nuscenes.utils.splits import create_splits_scenes

from perception.datasets.nuscenes_tables import check_dataroot, open_nuscenes
from perception.evaluation.json_file import write_json

TP_ERRORS = {"trans_err": "ATE", "scale_err": "ASE", "orient_err": "AOE", "vel_err": "AVE", "attr_err": "AAE"}
_BAR_FROM_SAMPLES = 500  # fewer load in under 2 s


def load_nuscenes(root: str | Path, version: str) -> NuScenes:
    """The devkit's tables of a dataroot, kept in memory until they change on disk; raises as `open_nuscenes`."""
    tables = check_dataroot(root, version)
    newest = max(path.stat().st_mtime_ns for path in tables.glob("*.json"))
    return _load_nuscenes(Path(root).resolve(), version, newest)


@lru_cache(maxsize=2)
def _load_nuscenes(root: Path, version: str, newest_ns: int) -> NuScenes:
    return open_nuscenes(root, version)


def sample_tokens(nusc: NuScenes, split: str) -> list[str]:
    """Tokens of the samples of a split, by its name in the dataroot's own splits.json or else by its official name.

    Raises ValueError for a name that neither knows.
    """
    own = Path(nusc.dataroot) / nusc.version / "splits.json"
    named = json.loads(own.read_text(encoding="utf-8")) if own.is_file() else create_splits_scenes()
    if split not in named:
        raise ValueError(f"no split {split!r} of {Path(nusc.dataroot) / nusc.version}; there are {', '.join(named)}")
    scenes = set(named[split])
    return [s["token"] for s in nusc.sample if nusc.get("scene", s["scene_token"])["name"] in scenes]


class SubsetEval(NuScenesEval):
    """NuScenesEval over exactly the samples of the submission, with submissions without any box allowed."""

    def __init__(self, nusc: NuScenes, config: DetectionConfig, result_path: str) -> None:
        self.nusc, self.cfg, self.result_path, self.verbose = nusc, config, result_path, False
        self.pred_boxes, self.meta = load_prediction(result_path, config.max_boxes_per_sample, DetectionBox)
        self.sample_tokens = self.pred_boxes.sample_tokens
        quiet = contextlib.redirect_stderr(io.StringIO())
        with quiet if len(self.sample_tokens) < _BAR_FROM_SAMPLES else contextlib.nullcontext():
            self.gt_boxes = load_gt_of_sample_tokens(nusc, self.sample_tokens, DetectionBox)
        self.pred_boxes = self._filtered(self.pred_boxes)
        self.gt_boxes = self._filtered(self.gt_boxes)

    def _filtered(self, boxes: EvalBoxes) -> EvalBoxes:
        if not boxes.all:  # the devkit raises: it asks the first box for its kind
            return boxes
        return filter_eval_boxes(self.nusc, add_center_dist(self.nusc, boxes), self.cfg.class_range)


def evaluate_results(
    result_path: str | Path,
    root: str | Path,
    version: str,
    split: str | None = None,
    out_path: str | Path | None = None,
) -> dict[str, Any]:
    """Score a submission file with the official code and configuration (detection_cvpr_2019).

    Ground truth is that of the samples in the submission. Where a split is named, a submission with other samples is
    refused, and one that lacks some is scored on those it has, which "scored" then says: such a score is not the
    split's. Returns (and writes to out_path, NaN as null)

        NDS mAP mATE mASE mAOE mAVE mAAE: official, over all ten classes
        mAP_present: mean AP over the classes with ground truth after the official filters; None without any
        present: {class: ground truth boxes}, for those classes
        AP: {class: AP}; AP_per_distance: {class: {"0.5": AP, ..}}
        TP: {class: {ATE ASE AOE AVE AAE}}, None where the error is not defined for the class
        curves: {"recall": [101], "precision": {class: {"0.5": [101], ..}}}, for present classes
        scored: {samples, split, samples_in_split, restricted}

    Raises FileNotFoundError for a missing file or dataroot, ValueError for a file that is no submission.
    """
    result_path = Path(result_path)
    predicted = _predicted_tokens(result_path)
    nusc = load_nuscenes(root, version)
    if not nusc.sample_annotation:
        raise ValueError(f"{Path(root) / version} has no annotations: nothing to score against (write results only)")
    _check_tokens(predicted, {s["token"] for s in nusc.sample}, f"{Path(root) / version}", result_path)
    scored: dict[str, Any] = {"samples": len(predicted), "split": split, "samples_in_split": None, "restricted": False}
    if split is not None:
        expected = set(sample_tokens(nusc, split))
        _check_tokens(predicted, expected, f"split {split}", result_path)
        scored |= {"samples_in_split": len(expected), "restricted": len(predicted) < len(expected)}

    evaluation = SubsetEval(nusc, config_factory("detection_cvpr_2019"), os.fspath(result_path))
    metrics, curves = evaluation.evaluate()
    present = Counter(box.detection_name for box in evaluation.gt_boxes.all)
    names = [name for name in evaluation.cfg.class_names if present[name]]
    ap = {name: float(value) for name, value in metrics.mean_dist_aps.items()}
    distances = evaluation.cfg.dist_ths
    scores: dict[str, Any] = {
        "NDS": float(metrics.nd_score),
        "mAP": metrics.mean_ap,
        **{f"m{TP_ERRORS[key]}": value for key, value in metrics.tp_errors.items()},
        "mAP_present": float(np.mean([ap[name] for name in names])) if names else None,
        "present": {name: present[name] for name in names},
        "AP": ap,
        "AP_per_distance": {
            name: {str(d): float(metrics.get_label_ap(name, d)) for d in distances}
            for name in evaluation.cfg.class_names
        },
        "TP": {
            name: {short: _or_none(metrics.get_label_tp(name, key)) for key, short in TP_ERRORS.items()}
            for name in evaluation.cfg.class_names
        },
        "curves": {
            "recall": np.linspace(0, 1, 101).round(2).tolist(),
            "precision": {
                name: {str(d): curves[(name, d)].precision.round(4).tolist() for d in distances} for name in names
            },
        },
        "scored": scored,
    }
    if out_path is not None:
        write_json(out_path, scores, indent=1)
    return scores


def _predicted_tokens(result_path: Path) -> set[str]:
    if not result_path.is_file():
        raise FileNotFoundError(f"no submission file {result_path}")
    try:
        content = json.loads(result_path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{result_path} is not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict) or "meta" not in content:
        raise ValueError(f'{result_path} is no nuScenes submission: it needs the fields "meta" and "results"')
    if not content["results"]:
        raise ValueError(f'{result_path} has no samples: list every sample in "results", empty where nothing was found')
    return set(content["results"])


def _check_tokens(predicted: set[str], known: set[str], where: str, result_path: Path) -> None:
    strangers = sorted(predicted - known)
    if strangers:
        raise ValueError(
            f"{result_path}: {len(strangers)} of its {len(predicted)} samples are not in {where} "
            f"(first: {strangers[0]}); score it against the data set and split it was made from"
        )


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

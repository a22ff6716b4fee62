"""A submission beside the ground truth it is scored against, as arrays, with what each object's circumstances were.

The devkit loads and filters both (its class ranges, its objects without a point, its bicycle racks), so every figure
computed from these tables counts the boxes that the official score counts.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.data_classes import DetectionBox

from perception.evaluation.nuscenes_eval import SubsetEval, evaluate_results, load_nuscenes

# Words of a scene's description, nuScenes' own and the synthetic world's; a scene that names none was driven by day.
_WEATHER_WORDS = ("night", "rain", "dusk", "glare", "overcast")


@dataclass(frozen=True)
class BoxTable:
    """K boxes: sample [K] and label [K] int64, centre [K,2] (m, global), distance_m [K] from the ego vehicle, length_m
    [K], score [K] (-1 for ground truth), and the devkit's own records of them, `rows`."""

    sample: np.ndarray
    label: np.ndarray
    centre: np.ndarray
    distance_m: np.ndarray
    length_m: np.ndarray
    score: np.ndarray
    rows: Sequence[DetectionBox] = field(repr=False)

    def __len__(self) -> int:
        return len(self.sample)


@dataclass(frozen=True)
class ScoredBoxes:
    """A submission and its ground truth.

    Attributes:
        name: what the report calls the run.
        classes: the official names, labels index them.
        tokens, scenes, weather: of each sample.
        truth, found: the boxes that are scored.
        visibility [K] (the devkit's level, "" where unknown), points [K] (LiDAR and radar): of `truth`.
        official: what `evaluate_results` returns.
    """

    name: str
    classes: list[str]
    tokens: list[str]
    scenes: list[str]
    weather: list[str]
    truth: BoxTable
    found: BoxTable
    visibility: np.ndarray
    points: np.ndarray
    official: dict[str, Any] = field(repr=False)

    @property
    def present(self) -> list[int]:
        """Labels of the classes with ground truth."""
        return sorted({int(label) for label in self.truth.label})


def weather_of(description: str) -> str:
    """The weather words of a scene's description, in a fixed order: "night, rain"; "day" where there is none.

    nuScenes writes "after rain" for a wet road: that is counted with rain, as the field does.
    """
    words = set(re.findall("[a-z]+", description.lower()))
    found = [word for word in _WEATHER_WORDS if word in words or (word == "rain" and "rainy" in words)]
    return ", ".join(found) or "day"


def read_scored_boxes(
    results: str | Path, root: str | Path, version: str, split: str | None = None, name: str | None = None
) -> ScoredBoxes:
    """Score a submission officially and read its boxes; raises as `evaluate_results` does."""
    official = evaluate_results(results, root, version, split)
    nusc = load_nuscenes(root, version)
    evaluation = SubsetEval(nusc, config_factory("detection_cvpr_2019"), os.fspath(results))
    classes = list(evaluation.cfg.class_names)
    order = {sample["token"]: (sample["scene_token"], sample["timestamp"]) for sample in nusc.sample}
    tokens = sorted(evaluation.sample_tokens, key=order.__getitem__)
    scenes = [nusc.get("scene", nusc.get("sample", token)["scene_token"]) for token in tokens]
    index = {token: i for i, token in enumerate(tokens)}
    # Objects by time, so that submissions share their rows; detections as submitted, which decides ties of scores.
    truth = _table(sorted(evaluation.gt_boxes.all, key=lambda row: index[row.sample_token]), index, classes)
    return ScoredBoxes(
        name=name or Path(results).parent.name,
        classes=classes,
        tokens=tokens,
        scenes=[scene["name"] for scene in scenes],
        weather=[weather_of(scene["description"]) for scene in scenes],
        truth=truth,
        found=_table(evaluation.pred_boxes.all, index, classes),
        visibility=_visibility(nusc, truth.rows),
        points=np.array([row.num_pts for row in truth.rows], np.int64),
        official=official,
    )


def _table(rows: Sequence[DetectionBox], index: dict[str, int], classes: Sequence[str]) -> BoxTable:
    label = {name: i for i, name in enumerate(classes)}
    return BoxTable(
        sample=np.array([index[row.sample_token] for row in rows], np.int64),
        label=np.array([label[row.detection_name] for row in rows], np.int64),
        centre=np.array([row.translation[:2] for row in rows], np.float64).reshape(-1, 2),
        distance_m=np.array([row.ego_dist for row in rows], np.float64),
        length_m=np.array([row.size[1] for row in rows], np.float64),
        score=np.array([row.detection_score for row in rows], np.float64),
        rows=rows,
    )


def _visibility(nusc: NuScenes, rows: Sequence[DetectionBox]) -> np.ndarray:
    """The visibility level of each ground truth box. The devkit's boxes lack it, but keep the annotation's place."""
    levels: dict[tuple[str, tuple[float, ...]], str] = {}
    for token in {row.sample_token for row in rows}:
        for key in nusc.get("sample", token)["anns"]:
            annotation = nusc.get("sample_annotation", key)
            level = annotation["visibility_token"]
            levels[token, tuple(annotation["translation"])] = nusc.get("visibility", level)["level"] if level else ""
    return np.array([levels[row.sample_token, tuple(row.translation)] for row in rows], dtype=str)

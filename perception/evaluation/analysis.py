"""Everything that tools/analyze.py reports, as one plain dictionary."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.evaluation.calibration import calibration
from perception.evaluation.comparison import RESAMPLES, difference
from perception.evaluation.frame_errors import KINDS, RIGHT, FrameErrors, confusion, errors_by_frame, frame_errors
from perception.evaluation.matching import Matches, class_ap, match_all
from perception.evaluation.scored_boxes import ScoredBoxes
from perception.evaluation.slices import axes, slice_scores


def analyse(runs: Sequence[ScoredBoxes], worst: int = 6, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Analyse the first run, and compare every other one with it.

    Returns {run, frames, scenes, official, classes, slices, confusion, calibration, worst, comparisons}:
        official: {NDS, mAP, mAP_present, ..} of the devkit
        classes: {class: {objects, AP, threshold, right, wrong_class, missed, false}}; threshold is the score of the
        best
            F1, from which on boxes are counted
        slices: {axis: rows of `slice_scores`}
        confusion: {names, table}, see `frame_errors.confusion`
        calibration: see `calibration.calibration`
        worst: [{token, scene, right, wrong class, false, missed}], most errors first
        comparisons: [{run, table of `difference`: this run minus the first}]

    Raises ValueError where runs were made on different samples.
    """
    boxes, others = runs[0], runs[1:]
    matches = match_all(boxes)
    errors = frame_errors(boxes, matches)
    return {
        "run": boxes.name,
        "frames": len(boxes.tokens),
        "scenes": len(set(boxes.scenes)),
        "official": {key: value for key, value in boxes.official.items() if isinstance(value, float | None)},
        "classes": _classes(boxes, matches, errors),
        "slices": {axis.name: slice_scores(boxes, matches, errors, axis) for axis in axes(boxes)},
        "confusion": {"names": boxes.classes, "table": confusion(boxes, errors).tolist()},
        "calibration": calibration(boxes, matches),
        "worst": worst_frames(boxes, errors, worst),
        "comparisons": [
            {"run": run.name, "table": difference((boxes, matches), (run, match_all(run)), resamples=resamples)}
            for run in others
        ],
    }


def _classes(boxes: ScoredBoxes, matches: Matches, errors: FrameErrors) -> dict[str, dict[str, Any]]:
    all_objects, all_detections = np.ones(len(boxes.truth), bool), np.ones(len(boxes.found), bool)
    table = {}
    for label in boxes.present:
        mine = boxes.truth.label == label
        counts = np.bincount(errors.truth[mine], minlength=len(KINDS))
        table[boxes.classes[label]] = {
            "objects": int(mine.sum()),
            "AP": class_ap(boxes, matches, label, all_objects, all_detections),
            "threshold": float(errors.thresholds[label]),
            "right": int(counts[RIGHT]),
            "wrong_class": int(counts[KINDS.index("wrong class")]),
            "missed": int(counts[KINDS.index("missed")]),
            "false": int(((boxes.found.label == label) & (errors.detection == KINDS.index("false"))).sum()),
        }
    return table


def worst_frames(boxes: ScoredBoxes, errors: FrameErrors, count: int) -> list[dict[str, Any]]:
    """The frames with most boxes that are missed, false or of the wrong class, most first."""
    table = errors_by_frame(boxes, errors)
    wrong = table.sum(axis=1) - table[:, RIGHT]
    return [
        {
            "token": boxes.tokens[index],
            "scene": boxes.scenes[index],
            "weather": boxes.weather[index],
            **dict(zip(KINDS, table[index].tolist(), strict=True)),
        }
        for index in np.argsort(-wrong, kind="stable")[:count]
    ]

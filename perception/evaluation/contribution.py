"""What each sensor adds: the same weights scored with both sensors and with either one off."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from perception.evaluation.comparison import RESAMPLES, check_same_frames, difference
from perception.evaluation.frame_errors import RIGHT, frame_errors
from perception.evaluation.matching import match_all
from perception.evaluation.scored_boxes import ScoredBoxes
from perception.evaluation.slices import Axis, axes

MODES = ("fused", "lidar_only", "camera_only")
# Which of the three found an object: (fused, LiDAR alone, camera alone) -> what that says.
OUTCOMES: dict[tuple[bool, ...], str] = {
    (True, True, True): "either sensor suffices",
    (True, True, False): "LiDAR finds it",
    (True, False, True): "cameras find it",
    (True, False, False): "only both together",
    (False, True, False): "lost by fusing (LiDAR had it)",
    (False, False, True): "lost by fusing (cameras had it)",
    (False, True, True): "lost by fusing (both had it)",
    (False, False, False): "nobody finds it",
}


def contribution(runs: Mapping[str, ScoredBoxes], resamples: int = RESAMPLES) -> dict[str, Any]:
    """What cameras add to LiDAR and LiDAR to cameras, from runs named as MODES over the same samples.

    Returns {classes, distance, outcomes, official}:
        classes: {"camera_adds", "lidar_adds": what `difference` returns from the lone sensor to the fused run}
        distance: the same for each bin of distance, as [{bin, camera_adds, lidar_adds}]
        outcomes: {class: {outcome: objects}}, by what finds each object when its mode is run at its best F1
        official: {mode: {NDS, mAP}}

    Raises KeyError naming the missing mode, ValueError where the samples differ.
    """
    for mode in MODES:
        if mode not in runs:
            raise KeyError(f"no run {mode!r}: make the three with tools/test.py --sensors {' '.join(MODES)}")
    check_same_frames([runs[mode] for mode in MODES])
    matched = {mode: (runs[mode], match_all(runs[mode])) for mode in MODES}
    alone = {"camera_adds": "lidar_only", "lidar_adds": "camera_only"}
    distance = {mode: axes(runs[mode])[0] for mode in MODES}
    rows = []
    for index, name in enumerate(distance["fused"].bins):
        inside = distance["fused"].truth == index
        row: dict[str, Any] = {"bin": name}
        for gain, mode in alone.items():
            detections = _in_bin(distance[mode], index), _in_bin(distance["fused"], index)
            row[gain] = difference(matched[mode], matched["fused"], inside, detections, resamples)
        rows.append(row)
    return {
        "classes": {gain: difference(matched[m], matched["fused"], None, None, resamples) for gain, m in alone.items()},
        "distance": rows,
        "outcomes": _outcomes(runs, {mode: frame_errors(*matched[mode]).truth == RIGHT for mode in MODES}),
        "official": {mode: {key: runs[mode].official[key] for key in ("NDS", "mAP")} for mode in MODES},
    }


def _in_bin(axis: Axis, index: int) -> np.ndarray:
    assert axis.found is not None  # every detection has a distance
    return axis.found == index


def _outcomes(runs: Mapping[str, ScoredBoxes], found: Mapping[str, np.ndarray]) -> dict[str, dict[str, int]]:
    fused = runs["fused"]
    table: dict[str, dict[str, int]] = {
        fused.classes[label]: dict.fromkeys(OUTCOMES.values(), 0) for label in fused.present
    }
    for label, *outcome in zip(fused.truth.label, *(found[mode] for mode in MODES), strict=True):
        table[fused.classes[label]][OUTCOMES[tuple(map(bool, outcome))]] += 1
    return table

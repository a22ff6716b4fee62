"""Scores by circumstance: how far, how large, how visible an object is, in what weather, on how many points."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.evaluation.frame_errors import RIGHT, FrameErrors
from perception.evaluation.matching import NOTHING, Matches, class_ap
from perception.evaluation.scored_boxes import ScoredBoxes

_DISTANCE_M = (0, 10, 20, 30, 40)  # no class is scored beyond 50 m
_LENGTH_M = (0, 1, 3, 6, 10)
_POINTS = (1, 5, 20, 100)


@dataclass(frozen=True)
class Axis:
    """One way to divide the boxes: names of the bins, the bin of each object [G] and of each detection [D].

    `found` is None where a detection that found nothing has no place on the axis (who can say how visible it is?):
    there is recall along it, but no AP.
    """

    name: str
    bins: list[str]
    truth: np.ndarray
    found: np.ndarray | None


def axes(boxes: ScoredBoxes) -> list[Axis]:
    """Distance, length, weather, visibility and number of points."""
    truth, found = boxes.truth, boxes.found
    weather = sorted(set(boxes.weather))
    of_sample = np.array([weather.index(name) for name in boxes.weather], np.int64)
    levels = sorted({str(level) for level in boxes.visibility})
    return [
        _binned("distance", "m", _DISTANCE_M, truth.distance_m, found.distance_m),
        _binned("length", "m", _LENGTH_M, truth.length_m, found.length_m),
        Axis("weather", weather, of_sample[truth.sample], of_sample[found.sample]),
        Axis(
            "visibility",
            [f"{level.removeprefix('v')} %" if level else "unknown" for level in levels],
            np.array([levels.index(str(level)) for level in boxes.visibility], np.int64),
            None,
        ),
        _binned("points", "", _POINTS, boxes.points, None),
    ]


def _binned(name: str, unit: str, edges: tuple[int, ...], truth: np.ndarray, found: np.ndarray | None) -> Axis:
    """Bins [edge, next edge), the last one open."""
    last_is = 1 if unit == "" else 0  # a number of points is whole: 1-4, 5-19
    labels = [f"{low}–{high - last_is} {unit}".strip() for low, high in itertools.pairwise(edges)]
    labels.append(f"≥ {edges[-1]} {unit}".strip())

    def place(values: np.ndarray) -> np.ndarray:
        return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, None)

    return Axis(name, labels, place(truth), None if found is None else place(found))


def slice_scores(boxes: ScoredBoxes, matches: Matches, errors: FrameErrors, axis: Axis) -> list[dict[str, Any]]:
    """One row per bin: {bin, objects, mAP, recall, recall_shown, ATE, classes: {class: {objects, AP, recall}}}.

    objects: ground truth in the bin. AP: official, of the bin's objects and of the false detections in it; None along
    an axis without a place for those. mAP: mean over the classes with objects in the bin. recall: share of the objects
    found at 2 m by a detection of any score; recall_shown: by one above its class's threshold. ATE: mean distance (m)
    of those.
    """
    truth, found = boxes.truth, boxes.found
    hit_by = np.full(len(truth), NOTHING)
    rows = np.flatnonzero(matches.pairs != NOTHING)
    hit_by[matches.pairs[rows]] = rows
    was_found = hit_by != NOTHING
    error_m = np.full(len(truth), np.nan)
    error_m[was_found] = np.linalg.norm(truth.centre[was_found] - found.centre[hit_by[was_found]], axis=1)
    shown = errors.truth == RIGHT

    table = []
    for index, name in enumerate(axis.bins):
        inside = axis.truth == index
        classes: dict[str, Any] = {}
        for label in boxes.present:
            of_class = inside & (truth.label == label)
            if not of_class.any():
                continue
            ap = None
            if axis.found is not None:
                ap = class_ap(boxes, matches, label, inside, axis.found == index)
            classes[boxes.classes[label]] = {
                "objects": int(of_class.sum()),
                "AP": ap,
                "recall": float(was_found[of_class].mean()),
            }
        aps = [row["AP"] for row in classes.values() if row["AP"] is not None]
        table.append(
            {
                "bin": name,
                "objects": int(inside.sum()),
                "mAP": float(np.mean(aps)) if aps else None,
                "recall": float(was_found[inside].mean()) if inside.any() else None,
                "recall_shown": float(shown[inside].mean()) if inside.any() else None,
                "ATE": float(np.nanmean(error_m[inside])) if was_found[inside].any() else None,
                "classes": classes,
            }
        )
    return table

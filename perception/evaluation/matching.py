"""Which detection found which object: nuScenes' greedy matching by centre distance, and what follows from it.

Caesar et al., "nuScenes" (CVPR 2020), section 3.1. The devkit keeps only the curves; an analysis needs the pairs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from perception.evaluation.scored_boxes import BoxTable, ScoredBoxes

DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
PAIRING_M = 2.0  # nuScenes' distance for the errors of true positives, and ours for everything but AP
MIN_RECALL, MIN_PRECISION = 0.1, 0.1  # what the official AP leaves out
NOTHING = -1


class Matches(NamedTuple):
    """The object [D] (row of the truth, or NOTHING) that each detection found, for each of DISTANCES_M."""

    by_distance: dict[float, np.ndarray]

    @property
    def pairs(self) -> np.ndarray:
        """At PAIRING_M."""
        return self.by_distance[PAIRING_M]


def match_all(boxes: ScoredBoxes) -> Matches:
    """Match a run at every official distance."""
    return Matches({distance: match(boxes.truth, boxes.found, distance) for distance in DISTANCES_M})


def match(truth: BoxTable, found: BoxTable, limit_m: float) -> np.ndarray:
    """[D] int64: by descending score, each detection takes the nearest free object of its class nearer than limit_m."""
    taken_by = np.full(len(found), NOTHING, np.int64)
    for objects, detections in _groups(truth, found):
        distance = np.linalg.norm(found.centre[detections, None] - truth.centre[objects], axis=-1)
        order = descending(found.score[detections])
        near = order[(distance[order] < limit_m).any(1)]
        for row in near:
            nearest = int(distance[row].argmin())
            if distance[row, nearest] < limit_m:
                taken_by[detections[row]] = objects[nearest]
                distance[:, nearest] = np.inf
    return taken_by


def descending(score: np.ndarray) -> np.ndarray:
    """Indices by descending score, the later of two equal ones first, as the devkit sorts."""
    return np.lexsort((np.arange(len(score)), score))[::-1]


def _groups(truth: BoxTable, found: BoxTable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of objects and detections that share sample and class, where there are both."""
    classes = int(max(truth.label.max(initial=0), found.label.max(initial=0))) + 1
    truth_key, found_key = truth.sample * classes + truth.label, found.sample * classes + found.label
    truth_order, found_order = np.argsort(truth_key, kind="stable"), np.argsort(found_key, kind="stable")
    keys = np.intersect1d(truth_key, found_key)
    spans = [
        np.searchsorted(key[order], [keys, keys + 1]).T
        for key, order in ((truth_key, truth_order), (found_key, found_order))
    ]
    for objects, detections in zip(*spans, strict=True):
        yield truth_order[slice(*objects)], found_order[slice(*detections)]


def average_precision(hit: np.ndarray, objects: int) -> float:
    """The official AP of detections [D] bool by descending score; NaN without any object.

    Precision at 101 recalls by linear interpolation, 0 past the last; the part above 10 % recall and 10 % precision.
    """
    if not objects:
        return float("nan")
    if not hit.any():
        return 0.0
    true = np.cumsum(hit)
    return interpolated_ap(true / objects, true / np.arange(1, len(hit) + 1))


def interpolated_ap(recall: np.ndarray, precision: np.ndarray) -> float:
    """The official AP of a curve whose points are by descending score."""
    at = np.interp(np.linspace(0, 1, 101), recall, precision, right=0)[round(100 * MIN_RECALL) + 1 :]
    return float(np.clip(at - MIN_PRECISION, 0, None).mean() / (1 - MIN_PRECISION))


def class_ap(boxes: ScoredBoxes, matches: Matches, label: int, objects: np.ndarray, detections: np.ndarray) -> float:
    """AP of a class, mean over the official distances, among chosen objects [G] bool and unmatched detections [D] bool.

    A detection that found a chosen object counts as right and one that found another is passed over; one that found
    nothing counts as wrong where `detections` has it.
    """
    chosen = objects & (boxes.truth.label == label)
    of_class = np.flatnonzero(boxes.found.label == label)
    order = of_class[descending(boxes.found.score[of_class])]
    values = []
    for pairs in matches.by_distance.values():
        hit, counted = counted_hits(pairs[order], chosen, detections[order])
        values.append(average_precision(hit[counted], int(chosen.sum())))
    return float(np.mean(values))


def counted_hits(pairs: np.ndarray, objects: np.ndarray, detections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For detections [D] with their objects `pairs`: which are right, and which count at all (see `class_ap`)."""
    found_something = pairs != NOTHING
    hit = found_something & objects[pairs] if len(objects) else np.zeros(len(pairs), bool)
    return hit, hit | (~found_something & detections)


def operating_scores(boxes: ScoredBoxes, matches: Matches) -> np.ndarray:
    """[C] the score of each class from which on its detections have the best F1 at PAIRING_M; 1 where none is right."""
    scores = np.ones(len(boxes.classes))
    for label in range(len(boxes.classes)):
        rows = np.flatnonzero(boxes.found.label == label)
        order = rows[descending(boxes.found.score[rows])]
        true = np.cumsum(matches.pairs[order] != NOTHING)
        if len(order) and true[-1]:
            f1 = 2 * true / (np.arange(1, len(order) + 1) + (boxes.truth.label == label).sum())
            scores[label] = boxes.found.score[order[int(f1.argmax())]]
    return scores

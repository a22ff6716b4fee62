"""Do scores mean what they say? Reliability curves and expected calibration error.

Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017); for detectors, Kueppers et al. (CVPR Workshops
2020): the observed frequency of a score is the precision of the detections that have it, objects that were missed do
not enter.
"""

from typing import Any

import numpy as np

from perception.evaluation.matching import NOTHING, Matches
from perception.evaluation.scored_boxes import ScoredBoxes

BINS = 10


def reliability(score: np.ndarray, right: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """The reliability curve of detections with scores [D] in 0..1, of which `right` [D] bool found their object.

    Returns {detections, score: mean score of each non-empty bin, precision, count, ECE}; ECE is the mean distance of
    the two, weighted by count, None without detections.
    """
    place = np.clip((score * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    kept = count > 0
    mean_score = np.bincount(place, score, bins)[kept] / count[kept]
    precision = np.bincount(place, right, bins)[kept] / count[kept]
    gap = np.abs(mean_score - precision) * count[kept]
    return {
        "detections": len(score),
        "score": mean_score.tolist(),
        "precision": precision.tolist(),
        "count": count[kept].tolist(),
        "ECE": float(gap.sum() / len(score)) if len(score) else None,
    }


def calibration(boxes: ScoredBoxes, matches: Matches) -> dict[str, Any]:
    """Reliability of all detections ("all") and of those of each class with ground truth, right meaning right at 2
    m."""
    right = matches.pairs != NOTHING
    table = {"all": reliability(boxes.found.score, right)}
    for label in boxes.present:
        rows = boxes.found.label == label
        table[boxes.classes[label]] = reliability(boxes.found.score[rows], right[rows])
    return table

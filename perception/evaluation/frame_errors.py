"""What is right and what is wrong in each frame at the score a detector would be run with.

The kinds are TIDE's (Bolya et al., ECCV 2020) for boxes that are matched by their centres: right, wrong class, false,
missed.
"""

from dataclasses import dataclass

import numpy as np

from perception.evaluation.matching import NOTHING, PAIRING_M, Matches, operating_scores
from perception.evaluation.scored_boxes import ScoredBoxes

RIGHT, WRONG_CLASS, FALSE, MISSED = range(4)
KINDS = ("right", "wrong class", "false", "missed")


@dataclass(frozen=True)
class FrameErrors:
    """Attributes:
    thresholds: [C] the score from which on a class's detections count.
    detection: [D] the kind of each detection: RIGHT, WRONG_CLASS, FALSE, or -1 below its threshold.
    truth: [G] the kind of each object: RIGHT, WRONG_CLASS, MISSED.
    mistaken_for: [G] the label that an object of kind WRONG_CLASS was given, else -1.
    """

    thresholds: np.ndarray
    detection: np.ndarray
    truth: np.ndarray
    mistaken_for: np.ndarray


def frame_errors(boxes: ScoredBoxes, matches: Matches, thresholds: np.ndarray | None = None) -> FrameErrors:
    """Sort every box into its kind. Thresholds [C] default to those of the best F1 of each class.

    Right are the official pairs at PAIRING_M. Of the rest, by descending score, a detection nearer than that to an
    object that is still free took it for another class; any other is false, and an object that stays free is missed.
    """
    truth, found = boxes.truth, boxes.found
    thresholds = operating_scores(boxes, matches) if thresholds is None else np.asarray(thresholds, np.float64)
    shown = found.score >= thresholds[found.label] if len(found) else np.zeros(0, bool)
    paired = shown & (matches.pairs != NOTHING)
    detection = np.where(shown, FALSE, -1)
    detection[paired] = RIGHT
    kind = np.full(len(truth), MISSED)
    kind[matches.pairs[paired]] = RIGHT
    mistaken_for = np.full(len(truth), -1)
    objects_of = [np.flatnonzero(truth.sample == sample) for sample in range(len(boxes.tokens))]
    left = np.flatnonzero(detection == FALSE)
    for row in left[np.argsort(-found.score[left], kind="stable")]:
        free = objects_of[found.sample[row]]
        free = free[kind[free] == MISSED]
        if not len(free):
            continue
        distance = np.linalg.norm(truth.centre[free] - found.centre[row], axis=1)
        if distance.min() < PAIRING_M:
            # Never one of its own class: by the official matching that would be free only to a weaker detection.
            taken = free[int(distance.argmin())]
            detection[row] = kind[taken] = WRONG_CLASS
            mistaken_for[taken] = found.label[row]
    return FrameErrors(thresholds, detection, kind, mistaken_for)


def confusion(boxes: ScoredBoxes, errors: FrameErrors) -> np.ndarray:
    """[C+1,C+1] int64: rows are true classes and, last, nothing; columns what was reported and, last, nothing."""
    count = len(boxes.classes)
    table = np.zeros((count + 1, count + 1), np.int64)
    reported = np.where(errors.truth == RIGHT, boxes.truth.label, errors.mistaken_for)
    np.add.at(table, (boxes.truth.label, np.where(errors.truth == MISSED, count, reported)), 1)
    np.add.at(table, (count, boxes.found.label[errors.detection == FALSE]), 1)
    return table


def errors_by_frame(boxes: ScoredBoxes, errors: FrameErrors) -> np.ndarray:
    """[S,4] int64: how many boxes of each of KINDS a frame has."""
    table = np.zeros((len(boxes.tokens), len(KINDS)), np.int64)
    np.add.at(table, (boxes.truth.sample, errors.truth), 1)
    false = errors.detection == FALSE
    np.add.at(table, (boxes.found.sample[false], FALSE), 1)
    return table

"""Matching and AP against nuscenes-devkit's own, and the errors of frames against what was put in."""

import dataclasses

import numpy as np
import pytest
from made_up_runs import CLASSES, made_up_run, table
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.utils import center_distance
from nuscenes.eval.detection.algo import accumulate, calc_ap
from nuscenes.eval.detection.data_classes import DetectionBox

from perception.evaluation.frame_errors import (
    FALSE,
    MISSED,
    RIGHT,
    WRONG_CLASS,
    confusion,
    errors_by_frame,
    frame_errors,
)
from perception.evaluation.matching import DISTANCES_M, NOTHING, class_ap, match_all, operating_scores
from perception.evaluation.scored_boxes import BoxTable, ScoredBoxes, weather_of


def devkit_boxes(boxes: BoxTable, frames: int) -> EvalBoxes:
    table = EvalBoxes()
    for sample in range(frames):
        rows = np.flatnonzero(boxes.sample == sample)
        table.add_boxes(
            f"t{sample}",
            [
                DetectionBox(
                    sample_token=f"t{sample}",
                    translation=(*boxes.centre[i], 0.0),
                    size=(1.0, 1.0, 1.0),
                    rotation=(1.0, 0.0, 0.0, 0.0),
                    detection_name=CLASSES[boxes.label[i]],
                    detection_score=float(boxes.score[i]),
                )
                for i in rows
            ],
        )
    return table


def everything(boxes: ScoredBoxes) -> tuple[np.ndarray, np.ndarray]:
    return np.ones(len(boxes.truth), bool), np.ones(len(boxes.found), bool)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ap_equals_the_devkits_at_every_distance(seed: int) -> None:
    boxes = made_up_run(seed)
    # The devkit goes through frames in turn, which decides between equal scores.
    order = np.argsort(boxes.found.sample, kind="stable")
    found = BoxTable(
        *(getattr(boxes.found, f)[order] for f in ("sample", "label", "centre", "distance_m", "length_m", "score")), []
    )
    boxes = dataclasses.replace(boxes, found=found)
    truth, detections = devkit_boxes(boxes.truth, 12), devkit_boxes(boxes.found, 12)
    matches = match_all(boxes)
    for label in (0, 1):
        expected = [
            calc_ap(accumulate(truth, detections, CLASSES[label], center_distance, distance), 0.1, 0.1)
            for distance in DISTANCES_M
        ]
        assert 0 < min(expected) < max(expected) < 0.95
        assert class_ap(boxes, matches, label, *everything(boxes)) == pytest.approx(np.mean(expected), abs=1e-12)


def test_parts_hold_only_what_is_in_them() -> None:
    """AP of the objects of some frames is the AP of a run that has those frames only."""
    boxes = made_up_run(4)
    kept = boxes.truth.sample < 5, boxes.found.sample < 5
    part = dataclasses.replace(
        boxes,
        truth=table(*(getattr(boxes.truth, f)[kept[0]] for f in ("sample", "label", "centre", "score"))),
        found=table(*(getattr(boxes.found, f)[kept[1]] for f in ("sample", "label", "centre", "score"))),
    )
    alone = class_ap(part, match_all(part), 0, *everything(part))
    assert class_ap(boxes, match_all(boxes), 0, *kept) == pytest.approx(alone, abs=1e-12)
    assert class_ap(boxes, match_all(boxes), 0, *everything(boxes)) != pytest.approx(alone, abs=1e-3)


def scene_by_hand() -> ScoredBoxes:
    """One frame: a car found, a car called a bus, a car missed; a pedestrian reported where nothing is."""
    truth = table(np.zeros(3, int), np.zeros(3, int), np.array([[0.0, 0], [10, 0], [20, 0]]), np.full(3, -1.0))
    found = table(
        np.zeros(4, int),
        np.array([0, 2, 1, 0]),
        np.array([[0.3, 0], [10.5, 0], [0, 30], [0, 1.5]]),
        np.array([0.9, 0.8, 0.7, 0.6]),
    )
    return dataclasses.replace(made_up_run(0, frames=1), truth=truth, found=found)


def test_each_kind_of_error_by_hand() -> None:
    boxes = scene_by_hand()
    matches = match_all(boxes)
    assert matches.pairs.tolist() == [0, NOTHING, NOTHING, NOTHING]
    errors = frame_errors(boxes, matches, np.full(3, 0.5))
    assert errors.detection.tolist() == [RIGHT, WRONG_CLASS, FALSE, FALSE]
    assert errors.truth.tolist() == [RIGHT, WRONG_CLASS, MISSED]
    assert errors_by_frame(boxes, errors).tolist() == [[1, 1, 2, 1]]
    # rows: true car, pedestrian, bus, nothing; columns: reported as
    assert confusion(boxes, errors).tolist() == [[1, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    shy = frame_errors(boxes, matches, np.full(3, 0.85))
    assert shy.detection.tolist() == [RIGHT, -1, -1, -1]
    assert shy.truth.tolist() == [RIGHT, MISSED, MISSED]


def test_the_operating_score_has_the_best_f1() -> None:
    boxes = made_up_run(5)
    matches = match_all(boxes)
    chosen = operating_scores(boxes, matches)

    def f1(label: int, score: float) -> float:
        shown = (boxes.found.label == label) & (boxes.found.score >= score)
        right = (shown & (matches.pairs != NOTHING)).sum()
        return 2 * right / (shown.sum() + (boxes.truth.label == label).sum())

    for label in (0, 1):
        best = max(f1(label, score) for score in np.unique(boxes.found.score))
        # A tie of scores is cut in the middle by a curve, not by a threshold.
        assert f1(label, chosen[label]) == pytest.approx(best, abs=0.01)
    assert chosen[2] == 1.0  # no bus is right


def test_weather_of_descriptions() -> None:
    assert weather_of("Rain, parked cars, turn left") == "rain"
    assert weather_of("Night, after rain, peds") == "night, rain"
    assert weather_of("Parked truck, construction, intersection, train") == "day"
    assert weather_of("synthetic, glare") == "glare"

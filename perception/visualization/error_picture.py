"""The errors of a frame by colour: right, wrong class, false, missed. Objects are dashed, detections solid."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from perception.evaluation.frame_errors import KINDS, FrameErrors
from perception.evaluation.scored_boxes import ScoredBoxes
from perception.visualization.sample_picture import boxes_of_sample, draw_sample


def error_picture(
    sample: Mapping[str, Any], boxes: ScoredBoxes, errors: FrameErrors, range_m: float = 54.0
) -> np.ndarray:
    """RGB picture [H,1920,3] uint8 of a loaded sample of the run (see `sample_picture`), its boxes coloured by kind.

    Drawn are the boxes that are scored: objects within their class's range that have a point, and detections from the
    score of their class's best F1 on. Raises ValueError for a sample that is not of the run.
    """
    index, objects, detections = _rows(sample, boxes)
    detections = detections[errors.detection[detections] >= 0]
    drawn = {
        "gt_boxes": boxes_of_sample(sample, [boxes.truth.rows[i].serialize() for i in objects]),
        "gt_labels": errors.truth[objects],
        "pred_boxes": boxes_of_sample(sample, [boxes.found.rows[i].serialize() for i in detections]),
        "pred_labels": errors.detection[detections],
    }
    title = f"{boxes.scenes[index]} ({boxes.weather[index]}) · {sample['token']} · errors"
    return draw_sample(sample, KINDS, drawn, title, score_threshold=0.0, range_m=range_m)


def error_frame(sample: Mapping[str, Any], boxes: ScoredBoxes, errors: FrameErrors) -> dict[str, Any]:
    """The same boxes for `viewer_frame`, as keyword arguments: all detections, those that count with their kind."""
    _, objects, detections = _rows(sample, boxes)
    return {
        "gt_boxes": boxes_of_sample(sample, [boxes.truth.rows[i].serialize() for i in objects]),
        "gt_labels": boxes.truth.label[objects],
        "gt_points": boxes.points[objects],
        "gt_kinds": [KINDS[kind] for kind in errors.truth[objects]],
        "pred_boxes": boxes_of_sample(sample, [boxes.found.rows[i].serialize() for i in detections]),
        "pred_labels": boxes.found.label[detections],
        "pred_scores": boxes.found.score[detections],
        "pred_kinds": [KINDS[kind] if kind >= 0 else "" for kind in errors.detection[detections]],
    }


def _rows(sample: Mapping[str, Any], boxes: ScoredBoxes) -> tuple[int, np.ndarray, np.ndarray]:
    """Place of a sample in the run, and the rows of its objects and detections."""
    if sample["token"] not in boxes.tokens:
        raise ValueError(f"{boxes.name} has no sample {sample['token']}; was it made from another data set?")
    index = boxes.tokens.index(sample["token"])
    return index, np.flatnonzero(boxes.truth.sample == index), np.flatnonzero(boxes.found.sample == index)

"""A frame with its errors by colour: right, wrong class, false, missed. Objects are dashed, detections solid."""

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
    try:
        index = boxes.tokens.index(sample["token"])
    except ValueError:
        raise ValueError(f"{boxes.name} has no sample {sample['token']}; was it made from another data set?") from None
    objects = np.flatnonzero(boxes.truth.sample == index)
    detections = np.flatnonzero((boxes.found.sample == index) & (errors.detection >= 0))
    drawn = {
        "gt_boxes": boxes_of_sample(sample, [boxes.truth.rows[i].serialize() for i in objects]),
        "gt_labels": errors.truth[objects],
        "pred_boxes": boxes_of_sample(sample, [boxes.found.rows[i].serialize() for i in detections]),
        "pred_labels": errors.detection[detections],
    }
    title = f"{boxes.scenes[index]} ({boxes.weather[index]}) · {sample['token']} · errors"
    return draw_sample(sample, KINDS, drawn, title, score_threshold=0.0, range_m=range_m)

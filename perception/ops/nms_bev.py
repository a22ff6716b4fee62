"""Non-maximum suppression in the bird's-eye view: rotated boxes by IoU, or centres by distance."""

from __future__ import annotations

import torch
from torch import Tensor


def nms_bev(
    boxes: Tensor,  # [K,5] float32 or float64: x y (centre), length, width (m), yaw (rad, counter-clockwise from +x)
    scores: Tensor,  # [K] like boxes
    iou_threshold: float,
) -> Tensor:  # [kept] int64
    """Indices of the boxes that no kept box of higher score overlaps with IoU > threshold.

    They come in descending score; of equal scores the lower index comes first, NaN scores come last.

    Raises:
        ValueError: shapes, types or devices disagree, boxes are not float32 or float64, or the threshold is negative.
    """
    kept: Tensor = torch.ops.perception.nms_bev(boxes, scores, iou_threshold)
    return kept


def circle_nms(
    centres: Tensor,  # [K,2] float32 or float64: x y (m)
    scores: Tensor,  # [K] like centres
    radius_m: float,
) -> Tensor:  # [kept] int64
    """Indices of the centres that have no kept centre of higher score within the radius (CenterPoint, Yin et al.).

    Order and errors as in `nms_bev`; a negative radius is refused too.
    """
    kept: Tensor = torch.ops.perception.circle_nms(centres, scores, radius_m)
    return kept


@torch.library.register_fake("perception::nms_bev")
@torch.library.register_fake("perception::circle_nms")
def _(boxes: Tensor, scores: Tensor, limit: float) -> Tensor:
    kept = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(kept, dtype=torch.int64)

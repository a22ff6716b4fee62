"""Non-maximum suppression of axis-aligned boxes, with the semantics of torchvision and mmcv."""

from __future__ import annotations

import torch
from torch import Tensor


def nms(
    boxes: Tensor,  # [K,4] float32 or float64: x1 y1 x2 y2
    scores: Tensor,  # [K] like boxes
    iou_threshold: float,
    offset: int = 0,
) -> Tensor:  # [kept] int64
    """Indices of the boxes that no kept box of higher score overlaps with IoU > threshold.

    They come in descending score; of equal scores the lower index comes first, NaN scores come last.

    Args:
        offset: 0, or 1 where x2 and y2 are the last pixels inside: sides are then x2 - x1 + 1.

    Raises:
        ValueError: shapes, types or devices disagree, boxes are not float32 or float64, or offset is neither 0 nor 1.
    """
    kept: Tensor = torch.ops.perception.nms(boxes, scores, iou_threshold, offset)
    return kept


@torch.library.register_fake("perception::nms")
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    kept = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(kept, dtype=torch.int64)

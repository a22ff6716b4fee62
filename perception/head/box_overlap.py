"""Overlap of rotated boxes in space."""

from __future__ import annotations

import torch
from torch import Tensor

from perception.ops.box_iou_bev import box_overlap_bev

_BEV = [0, 1, 3, 4, 6]  # x y length width yaw of a box
_ROWS = 256  # pairs are met in blocks of so many: the overlap of all with all would grow with the square


def box_iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union [K,L] in space of every pair of boxes [K,9] and [L,9] float32 (LiDAR frame).

    Boxes stand upright: the shared volume is the shared footprint times the shared height. Not differentiable.
    """
    footprint = box_overlap_bev(a[:, _BEV].contiguous(), b[:, _BEV].contiguous())
    top = torch.minimum((a[:, 2] + a[:, 5] / 2)[:, None], b[:, 2] + b[:, 5] / 2)
    bottom = torch.maximum((a[:, 2] - a[:, 5] / 2)[:, None], b[:, 2] - b[:, 5] / 2)
    shared = footprint * (top - bottom).clamp(min=0)
    union = a[:, 3:6].prod(dim=1)[:, None] + b[:, 3:6].prod(dim=1) - shared
    return shared / union.clamp(min=1e-6)


def box_iou_3d_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union [K] in space of each box of a [K,9] with the same row of b [K,9]."""
    blocks = zip(a.split(_ROWS), b.split(_ROWS), strict=True)
    parts = [box_iou_3d(x, y).diagonal() for x, y in blocks]
    return torch.cat(parts) if parts else a.new_zeros(0)

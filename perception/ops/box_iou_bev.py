"""Exact overlap of rotated boxes in the bird's-eye view."""

from __future__ import annotations

import torch
from torch import Tensor


def box_iou_bev(
    a: Tensor,  # [K,5] float32 or float64: x y (centre), length, width (m), yaw (rad, counter-clockwise from +x)
    b: Tensor,  # [L,5] like a
) -> Tensor:  # [K,L] like a, 0..1
    """Intersection over union of every pair. A box without area overlaps nothing. Not differentiable.

    Raises:
        ValueError: a and b are not [*,5] of one type, float32 or float64, on one device.
    """
    out: Tensor = torch.ops.perception.box_iou_bev(a, b, False)
    return out


def box_overlap_bev(a: Tensor, b: Tensor) -> Tensor:
    """Area (m^2) that every pair of boxes shares, [K,L]. Arguments and errors as in `box_iou_bev`."""
    out: Tensor = torch.ops.perception.box_iou_bev(a, b, True)
    return out


@torch.library.register_fake("perception::box_iou_bev")
def _(a: Tensor, b: Tensor, area: bool) -> Tensor:
    return a.new_empty((a.shape[0], b.shape[0]))

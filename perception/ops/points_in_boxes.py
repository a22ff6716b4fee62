"""Which points lie in which rotated 3D boxes. The surface of a box belongs to it."""

from __future__ import annotations

import torch
from torch import Tensor


def points_in_boxes(
    points: Tensor,  # [P,3] float32 or float64: x y z (m)
    boxes: Tensor,  # [K,7] like points: x y z of the gravity centre, l w h (m), yaw (rad, counter-clockwise from +x)
) -> Tensor:  # [P] int64
    """The first box in order that holds each point; -1 where none does. Points and boxes share a frame.

    Raises:
        ValueError: points are not [P,3] or boxes not [K,7], or they differ in type or device.
    """
    first: Tensor = torch.ops.perception.points_in_boxes(points, boxes)
    return first


def points_in_boxes_all(points: Tensor, boxes: Tensor) -> Tensor:
    """[P,K] bool: whether the box holds the point. Arguments and errors as in `points_in_boxes`."""
    inside: Tensor = torch.ops.perception.points_in_boxes_all(points, boxes)
    return inside


@torch.library.register_fake("perception::points_in_boxes")
def _(points: Tensor, boxes: Tensor) -> Tensor:
    return points.new_empty(points.shape[0], dtype=torch.int64)


@torch.library.register_fake("perception::points_in_boxes_all")
def _(points: Tensor, boxes: Tensor) -> Tensor:
    return points.new_empty((points.shape[0], boxes.shape[0]), dtype=torch.bool)

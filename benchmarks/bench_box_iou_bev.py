"""Rotated IoU of 1,000 x 1,000 boxes, against a batched polygon clip in plain torch.

The torch form clips only the pairs whose surrounding circles meet, as ours does. Floor: boxes and result at copy
bandwidth.
"""

from __future__ import annotations

import torch
from gpu_cases import random_boxes
from timing import bytes_of, compare, copy_bandwidth
from torch import Tensor

from perception.ops.box_iou_bev import box_iou_bev


def corners(boxes: Tensor) -> Tensor:
    """[K,4,2] counter-clockwise."""
    signs = boxes.new_tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    local = signs * boxes[:, None, 2:4]
    cos, sin = boxes[:, 4].cos()[:, None], boxes[:, 4].sin()[:, None]
    x, y = local[..., 0] * cos - local[..., 1] * sin, local[..., 0] * sin + local[..., 1] * cos
    return torch.stack((x, y), dim=-1) + boxes[:, None, :2]


def clip(polygon: Tensor, normal: Tensor, limit: Tensor) -> Tensor:
    """Convex polygons [n,m,2] cut to normal . p <= limit, as [n,2m,2] with repeated vertices."""
    following = polygon.roll(-1, dims=1)
    inside = limit[:, None] - (polygon * normal[:, None]).sum(-1)
    inside_following = inside.roll(-1, dims=1)
    span = inside - inside_following
    part = (inside / torch.where(span == 0, 1.0, span)).clamp(0, 1)[..., None]
    crossing = polygon + part * (following - polygon)
    crosses = (inside >= 0) != (inside_following >= 0)
    first = torch.where((inside >= 0)[..., None], polygon, torch.nan)
    second = torch.where(crosses[..., None], crossing, torch.nan)
    points = torch.stack((first, second), dim=2).flatten(1, 2)
    # A vertex that is cut away becomes its predecessor, which spans no area.
    real = ~points[..., 0].isnan()
    place = torch.where(real, torch.arange(points.shape[1]), -1).cummax(1).values
    last = torch.where(real, torch.arange(points.shape[1]), -1).amax(1, keepdim=True)
    place = torch.where(place < 0, last, place).clamp(min=0)
    return points.gather(1, place[..., None].expand(-1, -1, 2))


def by_torch(a: Tensor, b: Tensor) -> Tensor:
    """[K,L] IoU."""
    reach = (a[:, None, 2:4].norm(dim=-1) + b[None, :, 2:4].norm(dim=-1)) / 2
    rows, columns = torch.nonzero((a[:, None, :2] - b[None, :, :2]).norm(dim=-1) <= reach, as_tuple=True)
    polygon, box = corners(a)[rows], b[columns]
    axes = torch.stack((box[:, 4].cos(), box[:, 4].sin()), dim=-1)
    sides = torch.stack((-axes[:, 1], axes[:, 0]), dim=-1)
    for normal, half in ((axes, box[:, 2] / 2), (sides, box[:, 3] / 2)):
        for signed in (normal, -normal):
            polygon = clip(polygon, signed, (signed * box[:, :2]).sum(-1) + half)
    following = polygon.roll(-1, dims=1)
    shared = (polygon[..., 0] * following[..., 1] - polygon[..., 1] * following[..., 0]).sum(1).nan_to_num() / 2
    union = (a[:, 2] * a[:, 3])[rows] + (b[:, 2] * b[:, 3])[columns] - shared
    return a.new_zeros(len(a), len(b)).index_put((rows, columns), shared / union)


def main() -> None:
    a, b = random_boxes(1000, "cpu"), random_boxes(1000, "cpu").flip(0).contiguous()
    exact = by_torch(a.double(), b.double())
    torch.testing.assert_close(box_iou_bev(a.double(), b.double()), exact, rtol=1e-6, atol=1e-6)
    ours = box_iou_bev(a, b)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-3)
    floor_ms = 1e3 * bytes_of(a, b, ours) / copy_bandwidth()
    compare("box_iou_bev", lambda: box_iou_bev(a, b), lambda: by_torch(a, b), "polygon clip in torch", floor_ms)


if __name__ == "__main__":
    main()

"""Depth-weighted image features summed into bird's-eye-view cells (Lift-Splat, Philion & Fidler, ECCV 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PoolIndex(NamedTuple):
    """The frustum points that fall into the map. It depends on the rig alone, so a fixed rig builds it once.

    Attributes:
        point: [I] int64, flat index into [M,D,H,W] of the points inside the map, grouped by cell.
        cell: [I] int64, the flat cell of each.
    """

    point: Tensor
    cell: Tensor


def pool_index(cell: Tensor) -> PoolIndex:
    """Index of the frustum points with cell [M,D,H,W] int64 (flat cell; -1 outside the map)."""
    flat = cell.flatten()
    point = torch.nonzero(flat >= 0).flatten()
    order = torch.argsort(flat[point], stable=True)
    point = point[order]
    return PoolIndex(point, flat[point])


def bev_pool(
    features: Tensor,  # [M,H,W,C]
    depth: Tensor,  # [M,D,H,W]
    index: PoolIndex,
    num_cells: int,
) -> Tensor:  # [num_cells,C]
    """out[cell] = sum over the frustum points (m,d,h,w) in the cell of depth[m,d,h,w] * features[m,h,w].

    Differentiable in features and depth.

    Raises:
        ValueError: features and depth disagree in views, height or width.
    """
    views, bins, height, width = depth.shape
    if features.shape[:3] != (views, height, width):
        raise ValueError(
            f"features {tuple(features.shape)} [M,H,W,C] and depth {tuple(depth.shape)} [M,D,H,W] disagree"
        )
    pixel = index.point // (bins * height * width) * (height * width) + index.point % (height * width)
    rows = features.flatten(0, 2)[pixel] * depth.flatten()[index.point, None].to(features.dtype)
    out = rows.new_zeros((num_cells, features.shape[3]))
    return out.index_add(0, index.cell, rows)

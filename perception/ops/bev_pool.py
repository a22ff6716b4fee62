"""Depth-weighted image features summed into bird's-eye-view cells (Lift-Splat, Philion & Fidler, ECCV 2020).

The frustum of features is never in memory: a cell reads the pixels that fall into it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class PoolIndex(NamedTuple):
    """The frustum points of every cell. It depends on the rig alone, so a fixed rig builds it once and keeps it.

    Attributes:
        point: [M*D*H*W] int32, flat index into [M,D,H,W], grouped by cell and ascending in it; those outside come last.
        pixel: [M*D*H*W] int32, flat index into [M,H,W] of each.
        offsets: [num_cells+1] int32; cell c holds point[offsets[c]:offsets[c + 1]].
        cell: [M,D,H,W] int32, the flat cell of every point, -1 outside the map.
    """

    point: Tensor
    pixel: Tensor
    offsets: Tensor
    cell: Tensor


def pool_index(
    cell: Tensor,  # [M,D,H,W] int64
    num_cells: int,
) -> PoolIndex:
    """Group frustum points by their flat cell, 0..num_cells-1; any other number is outside the map.

    Raises:
        ValueError: cell is not [M,D,H,W] int64, or there are more points than 32-bit indices reach.
    """
    return PoolIndex(*torch.ops.perception.pool_index(cell, num_cells))


def repeat_views(index: PoolIndex, times: int) -> PoolIndex:
    """The index of the same views `times` over, one set after the other along M, without sorting again.

    It is what `pool_index` makes of the repeated cells, but for the order inside a cell: the copies of a point stand
    together there.
    """
    copies = torch.arange(times, dtype=torch.int32, device=index.point.device)
    points, pixels = index.cell.numel(), index.cell.shape[0] * index.cell.shape[2] * index.cell.shape[3]
    return PoolIndex(
        (index.point[:, None] + copies * points).flatten(),
        (index.pixel[:, None] + copies * pixels).flatten(),
        index.offsets * times,
        index.cell.repeat(times, 1, 1, 1),
    )


def bev_pool(
    features: Tensor,  # [M,H,W,C] float16, bfloat16, float32 or float64
    depth: Tensor,  # [M,D,H,W] like features
    index: PoolIndex,
    num_cells: int,
) -> Tensor:  # [num_cells,C] like features
    """out[cell] = sum over the frustum points (m,d,h,w) in the cell of depth[m,d,h,w] * features[m,h,w].

    16-bit values are summed in float32. Differentiable in features and depth. The CPU's result is the same for any
    number of threads.

    Raises:
        ValueError: features, depth and index disagree in shape, dtype or device, or num_cells is not the index's.
    """
    if index.offsets.shape[0] != num_cells + 1:
        raise ValueError(f"the index was made for {index.offsets.shape[0] - 1} cells, num_cells is {num_cells}")
    out: Tensor = torch.ops.perception.bev_pool(features, depth, *index)
    return out


@torch.library.register_fake("perception::pool_index")
def _(cell: Tensor, num_cells: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    flat = cell.new_empty(cell.numel(), dtype=torch.int32)
    offsets = cell.new_empty(num_cells + 1, dtype=torch.int32)
    return flat, torch.empty_like(flat), offsets, cell.new_empty(cell.shape, dtype=torch.int32)


@torch.library.register_fake("perception::bev_pool")
def _(features: Tensor, depth: Tensor, point: Tensor, pixel: Tensor, offsets: Tensor, cell: Tensor) -> Tensor:
    return features.new_empty((offsets.shape[0] - 1, features.shape[3]))


@torch.library.register_fake("perception::bev_pool_backward")
def _(grad: Tensor, features: Tensor, depth: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    return features.new_empty(features.shape), depth.new_empty(depth.shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    features, depth, _, _, _, cell = inputs
    ctx.save_for_backward(features, depth, cell)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grad_features, grad_depth = torch.ops.perception.bev_pool_backward(grad, *ctx.saved_tensors)
    return grad_features, grad_depth, None, None, None, None


torch.library.register_autograd("perception::bev_pool", _backward, setup_context=_setup_context)

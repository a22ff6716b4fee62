"""Dynamic voxelization: which voxel each point falls into. No point is dropped and no voxel has a capacity."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Voxels(NamedTuple):
    """Occupied voxels of a batch of clouds, and the points of each.

    Attributes:
        coords: [V,4] int32 (b, z, y, x), sorted.
        point_voxel: [P] int64, the voxel of each point; -1 outside the range.
        order: [P] int64; order[offsets[v]:offsets[v + 1]] are the points of voxel v, ascending. Points outside
            the range come last.
        offsets: [V+1] int64.
    """

    coords: Tensor
    point_voxel: Tensor
    order: Tensor
    offsets: Tensor


def voxelize(
    points: Tensor,  # [P,3] float, x y z (m)
    point_batch: Tensor,  # [P] int64, 0..batch_size-1
    batch_size: int,
    range_min: tuple[float, float, float],  # x y z (m)
    cell: tuple[float, float, float],  # x y z (m)
    grid: tuple[int, int, int],  # Z Y X
) -> Voxels:
    """Voxel of every point: floor((coordinate - min) / cell) along each axis.

    The batch size is an argument, so that a sample without points keeps its place.

    Raises:
        ValueError: shapes disagree, or coordinates are not finite (with their count).
    """
    if points.ndim != 2 or points.shape[1] != 3 or point_batch.shape != points.shape[:1]:
        raise ValueError(
            f"points {tuple(points.shape)} and point_batch {tuple(point_batch.shape)} must be [P,3] and [P]"
        )
    finite = torch.isfinite(points).all(1)
    if not torch.compiler.is_compiling() and not bool(finite.all()):
        raise ValueError(
            f"{int((~finite).sum())} of {len(points)} points have a NaN or infinite coordinate; remove them first"
        )
    cells = torch.floor((points - points.new_tensor(range_min)) / points.new_tensor(cell))
    inside = ((cells >= 0) & (cells < cells.new_tensor(grid[::-1]))).all(1)
    x, y, z = torch.where(inside[:, None], cells, 0).long().unbind(1)
    zyx = (z * grid[1] + y) * grid[2] + x
    outside_key = batch_size * grid[0] * grid[1] * grid[2]
    key = torch.where(inside, point_batch * (grid[0] * grid[1] * grid[2]) + zyx, outside_key)
    order = torch.argsort(key, stable=True)
    unique, point_voxel, counts = torch.unique(key, sorted=True, return_inverse=True, return_counts=True)
    occupied = unique < outside_key
    unique, counts = unique[occupied], counts[occupied]
    offsets = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
    rest = unique
    axes = []
    for size in (grid[2], grid[1], grid[0]):
        axes.append(rest % size)
        rest = rest // size
    coords = torch.stack((rest, *reversed(axes)), dim=1).int()
    return Voxels(coords, torch.where(inside, point_voxel, -1), order, offsets)

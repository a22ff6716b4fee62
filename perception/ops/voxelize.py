"""Dynamic voxelization: which voxel each point falls into. No point is dropped and no voxel has a capacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Voxels(NamedTuple):
    """Occupied voxels of a batch of clouds, and the points of each.

    Attributes:
        coords: [V,4] int32 (b, z, y, x), sorted.
        point_voxel: [P] int64, the voxel of each point; -1 outside the range.
        order: [P] int64; order[offsets[v]:offsets[v + 1]] are the points of voxel v, ascending. Points outside the
            range come last.
        offsets: [V+1] int64.
    """

    coords: Tensor
    point_voxel: Tensor
    order: Tensor
    offsets: Tensor


def voxelize(
    points: Tensor,  # [P,3] float32, x y z (m)
    point_batch: Tensor,  # [P] int64, 0..batch_size-1
    batch_size: int,
    range_min: tuple[float, float, float],  # x y z (m)
    cell: tuple[float, float, float],  # x y z (m)
    grid: tuple[int, int, int],  # Z Y X
) -> Voxels:
    """Voxel of every point: floor((coordinate - min) / cell) along each axis, in float32.

    The batch size is an argument, so that a sample without points keeps its place.

    Raises:
        ValueError: shapes or dtypes disagree, a size is not positive, coordinates are not finite (with their count), or
            batch indices are not in 0..batch_size-1 (with their count).
    """
    if points.ndim != 2 or points.shape[1] != 3 or point_batch.shape != points.shape[:1]:
        raise ValueError(
            f"points {tuple(points.shape)} and point_batch {tuple(point_batch.shape)} must be [P,3] and [P]"
        )
    if points.dtype != torch.float32 or point_batch.dtype != torch.int64:
        raise ValueError(
            f"points ({points.dtype}) must be float32 and point_batch ({point_batch.dtype}) int64: half precision "
            "does not hold metres"
        )
    if min(cell) <= 0 or min(grid) < 1 or batch_size < 0:
        raise ValueError(f"cell {cell} (m), grid {grid} (cells) and batch_size {batch_size} must be positive")
    return Voxels(
        *torch.ops.perception.voxelize(
            points.detach(), point_batch, batch_size, list(map(float, range_min)), list(map(float, cell)), list(grid)
        )
    )


@torch.library.register_fake("perception::voxelize")
def _voxelize_fake(
    points: Tensor,
    point_batch: Tensor,
    batch_size: int,
    range_min: Sequence[float],
    cell: Sequence[float],
    grid: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    voxels = torch.library.get_ctx().new_dynamic_size()
    coords = points.new_empty((voxels, 4), dtype=torch.int32)
    return coords, torch.empty_like(point_batch), torch.empty_like(point_batch), point_batch.new_empty(voxels + 1)

"""voxelize of 300,000 points (ten sweeps of a 32-beam LiDAR), against torch.unique and a scatter that do the whole job.

The whole job: sorted coordinates of the occupied voxels, the voxel of every point, the points in voxel order, offsets.
Floor: each input and output once through memory at copy bandwidth.
"""

from __future__ import annotations

import torch
from gpu_cases import scene_points
from timing import bytes_of, compare, copy_bandwidth
from torch import Tensor

from perception.ops.voxelize import Voxels, voxelize

POINTS = 300_000
RANGE_MIN_M, CELL_M, GRID = (-51.2, -51.2, -5.0), (0.32, 0.32, 8.0), (1, 320, 320)


def flat_cells(points: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Flat cell of every point [P] and whether it is inside [P]."""
    index = torch.floor((points - points.new_tensor(RANGE_MIN_M)) / points.new_tensor(CELL_M)).long()
    inside = ((index >= 0) & (index < index.new_tensor(GRID[::-1]))).all(1)
    depth, rows, columns = GRID
    return ((batch * depth + index[:, 2]) * rows + index[:, 1]) * columns + index[:, 0], inside


def coords_of(cells: Tensor) -> Tensor:
    """[V,4] int32 (b, z, y, x) of flat cells [V]."""
    depth, rows, columns = GRID
    parts = (
        cells // (depth * rows * columns),
        cells // (rows * columns) % depth,
        cells // columns % rows,
        cells % columns,
    )
    return torch.stack(parts, dim=1).int()


def by_unique(points: Tensor, batch: Tensor) -> Voxels:
    """torch.unique, then the sort by voxel and the scatter of the inverse."""
    flat, inside = flat_cells(points, batch)
    cells, inverse, counts = torch.unique(flat[inside], return_inverse=True, return_counts=True)
    point_voxel = torch.full_like(batch, -1)
    point_voxel[inside] = inverse
    order = torch.argsort(torch.where(inside, point_voxel, len(cells)), stable=True)
    return Voxels(coords_of(cells), point_voxel, order, torch.cat((counts.new_zeros(1), counts.cumsum(0))))


def by_sort(points: Tensor, batch: Tensor) -> Voxels:
    """One stable sort and torch.unique_consecutive: the fastest plain torch that was found."""
    flat, inside = flat_cells(points, batch)
    outside = GRID[0] * GRID[1] * GRID[2]
    ordered, order = torch.sort(torch.where(inside, flat, outside), stable=True)
    count = int(inside.sum())
    cells, inverse, counts = torch.unique_consecutive(ordered[:count], return_inverse=True, return_counts=True)
    point_voxel = torch.full_like(batch, -1).index_copy(0, order[:count], inverse)
    return Voxels(coords_of(cells), point_voxel, order, torch.cat((counts.new_zeros(1), counts.cumsum(0))))


def main() -> None:
    points = scene_points(POINTS, "cpu")
    batch = torch.zeros(POINTS, dtype=torch.int64)

    def ours() -> Voxels:
        return voxelize(points, batch, 1, RANGE_MIN_M, CELL_M, GRID)

    voxels = ours()
    moved = bytes_of(points, batch, *voxels)
    floor_ms = 1e3 * moved / copy_bandwidth()
    for other, name in ((by_unique, "torch.unique + scatter"), (by_sort, "torch.sort + unique_consecutive")):
        if not all(torch.equal(a, b) for a, b in zip(voxels, other(points, batch), strict=True)):
            raise RuntimeError(f"{name} gives other voxels")
        compare("voxelize", ours, lambda form=other: form(points, batch), name, floor_ms)


if __name__ == "__main__":
    main()

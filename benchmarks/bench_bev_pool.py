"""bev_pool of six nuScenes cameras, 59 depths x 32 x 88 pixels x 80 channels onto 360 x 360 cells of 0.3 m.

Against the cumulative-sum form of Lift-Splat (sort by cell, running sum, differences at the cells' ends) and against
index_add. What depends on the rig alone (index, sorted order, kept points) is computed beforehand on both sides.
Floor: the greater of features, depths, index and map at copy bandwidth, and the multiplications and additions at the
matrix rate.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from timing import bytes_of, compare, compute_rate, copy_bandwidth
from torch import Tensor

from perception.datasets.synthetic.rig import make_rig
from perception.geometry.grid import BEVGrid
from perception.ops.bev_pool import bev_pool, pool_index

BINS, HEIGHT, WIDTH, CHANNELS = 59, 32, 88, 80
STRIDE, NEAR_M, STEP_M = 8, 1.0, 1.0
GRID = BEVGrid((-54.0, 54.0), (-54.0, 54.0), (-5.0, 3.0), (0.3, 0.3, 8.0))
CROP_TOP_PX = 140  # 1600 x 900 becomes 704 x 396, of which the lower 256 rows go into the network


def frustum_cells() -> Tensor:
    """[6,D,H,W] int64: flat cell of every frustum point of the six cameras, -1 outside the map."""
    rig = make_rig((704, 396))
    v, u = torch.meshgrid(
        (torch.arange(HEIGHT) + 0.5) * STRIDE - 0.5 + CROP_TOP_PX,
        (torch.arange(WIDTH) + 0.5) * STRIDE - 0.5,
        indexing="ij",
    )
    depth = (NEAR_M + (torch.arange(BINS) + 0.5) * STEP_M)[:, None, None].expand(-1, HEIGHT, WIDTH)
    pixels = torch.stack((u * depth, v * depth, depth), dim=-1).double()
    lidar_from_ego = torch.from_numpy(rig.ego_from_lidar).inverse()
    cells = []
    for camera in rig.cameras:
        in_camera = pixels @ torch.from_numpy(camera.intrinsic).inverse().T
        lidar_from_camera = lidar_from_ego @ torch.from_numpy(camera.ego_from_camera)
        points = in_camera @ lidar_from_camera[:3, :3].T + lidar_from_camera[:3, 3]
        cells.append(GRID.flat_bev_cells(points.float()))
    return torch.stack(cells)


class CumulativeSum:
    """Lift-Splat's pooling (Philion & Fidler, ECCV 2020, section 4.2): a running sum over the sorted frustum."""

    def __init__(self, cell: Tensor, cells: int) -> None:
        kept = torch.nonzero(cell.flatten() >= 0).flatten()
        of_kept = cell.flatten()[kept]
        by_cell = torch.argsort(of_kept, stable=True)
        self.point, sorted_cells = kept[by_cell], of_kept[by_cell]
        ends = torch.ones_like(sorted_cells, dtype=torch.bool)
        ends[:-1] = sorted_cells[1:] != sorted_cells[:-1]
        self.ends, self.occupied, self.cells = torch.nonzero(ends).flatten(), sorted_cells[ends], cells

    def __call__(self, features: Tensor, depth: Tensor) -> Tensor:
        frustum = (depth.unsqueeze(-1) * features.unsqueeze(1)).flatten(0, 3)
        sums = frustum[self.point].cumsum(0)[self.ends]
        sums = torch.cat((sums[:1], sums[1:] - sums[:-1]))
        return features.new_zeros(self.cells, features.shape[-1]).index_copy(0, self.occupied, sums)


class IndexAdd:
    """The kept frustum points added into their cells."""

    def __init__(self, cell: Tensor, cells: int) -> None:
        self.point = torch.nonzero(cell.flatten() >= 0).flatten()
        self.cell, self.cells = cell.flatten()[self.point], cells

    def __call__(self, features: Tensor, depth: Tensor) -> Tensor:
        frustum = (depth.unsqueeze(-1) * features.unsqueeze(1)).flatten(0, 3)
        return features.new_zeros(self.cells, features.shape[-1]).index_add(0, self.cell, frustum[self.point])


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    cell = frustum_cells()
    cells = GRID.shape[1] * GRID.shape[2]
    features = torch.randn(len(cell), HEIGHT, WIDTH, CHANNELS, generator=generator)
    depth = torch.randn(len(cell), BINS, HEIGHT, WIDTH, generator=generator).softmax(1)
    weight = torch.randn(cells, CHANNELS, generator=generator)
    index = pool_index(cell, cells)
    kept = int(index.offsets[-1])

    def ours(features: Tensor, depth: Tensor) -> Tensor:
        return bev_pool(features, depth, index, cells)

    def train(form: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        inputs = (features.detach().requires_grad_(), depth.detach().requires_grad_())
        return torch.autograd.grad((form(*inputs) * weight).sum(), inputs)

    bandwidth, rate = copy_bandwidth(), compute_rate()
    moved = bytes_of(features, depth, weight, index.offsets) + 8 * kept
    floor_ms = 1e3 * max(moved / bandwidth, 2 * kept * CHANNELS / rate)
    # Backward reads the map's gradient and the inputs again and writes their gradients, at twice the operations.
    training_floor_ms = floor_ms + 1e3 * max(
        (bytes_of(weight, index.cell) + 2 * bytes_of(features, depth)) / bandwidth, 4 * kept * CHANNELS / rate
    )
    forms = ((CumulativeSum(cell, cells), "cumulative sum"), (IndexAdd(cell, cells), "index_add"))
    for form, name in forms:
        # A running sum over a million rows cancels in float32: it is checked in float64.
        exact = form(features.double(), depth.double())
        torch.testing.assert_close(ours(features, depth).double(), exact, rtol=1e-4, atol=1e-5)
        compare("bev_pool", lambda: ours(features, depth), lambda form=form: form(features, depth), name, floor_ms)
    for form, name in forms:
        compare(
            "bev_pool (forward + backward)",
            lambda: train(ours),
            lambda form=form: train(form),
            name,
            training_floor_ms,
            repeats=7,
        )


if __name__ == "__main__":
    main()

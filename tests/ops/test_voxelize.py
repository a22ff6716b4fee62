"""voxelize against a loop over points."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from perception.ops.segment_reduce import segment_reduce
from perception.ops.voxelize import Voxels, voxelize

MIN = (-5.0, -4.0, -2.0)  # x y z (m)
CELL = (0.5, 0.25, 1.0)  # x y z (m)
GRID = (3, 17, 11)  # Z Y X, multiples of nothing


def slow_voxelize(points: Tensor, point_batch: Tensor, range_min=MIN, cell=CELL, grid=GRID) -> Voxels:
    """One point at a time, in numpy's float32."""
    groups: dict[tuple[int, ...], list[int]] = {}
    outside = []
    for i, (point, b) in enumerate(zip(points.cpu().numpy(), point_batch.tolist(), strict=True)):
        x, y, z = (
            math.floor(value) for value in (point - np.array(range_min, np.float32)) / np.array(cell, np.float32)
        )
        if 0 <= z < grid[0] and 0 <= y < grid[1] and 0 <= x < grid[2]:
            groups.setdefault((b, z, y, x), []).append(i)
        else:
            outside.append(i)
    coords = sorted(groups)
    point_voxel = torch.full((len(points),), -1)
    for v, c in enumerate(coords):
        point_voxel[groups[c]] = v
    return Voxels(
        torch.tensor(coords, dtype=torch.int32).reshape(-1, 4),
        point_voxel,
        torch.tensor([i for c in coords for i in groups[c]] + outside, dtype=torch.int64),
        torch.tensor([0] + [len(groups[c]) for c in coords]).cumsum(0),
    )


def check(points: Tensor, point_batch: Tensor, batch_size: int) -> Voxels:
    voxels = voxelize(points, point_batch, batch_size, MIN, CELL, GRID)
    for name, got, want in zip(Voxels._fields, voxels, slow_voxelize(points, point_batch), strict=True):
        assert got.device.type == points.device.type and got.is_contiguous()
        assert torch.equal(got.cpu(), want), name
        assert got.dtype == want.dtype, name
    return voxels


def random_points(count: int, device: str = "cpu", seed: int = 0) -> Tensor:
    """Points over a range a little larger than the grid's."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor(CELL) * torch.tensor(GRID[::-1])
    return (torch.rand(count, 3, generator=generator) * 1.2 * scale + torch.tensor(MIN) - 0.1 * scale).to(device)


@pytest.mark.parametrize("count", [0, 1, 2, 313, 9001])
def test_matches_a_loop_over_points(count: int, device: str) -> None:
    points = random_points(count, device)
    voxels = check(points, torch.arange(count, device=device) * 7 % 3, batch_size=3)
    if count == 9001:
        assert (voxels.point_voxel == -1).any() and len(voxels.coords) > 1000


def test_all_points_in_one_cell(device: str) -> None:
    points = random_points(1, device).expand(20_000, 3).contiguous() * 0
    voxels = check(points, torch.zeros(20_000, dtype=torch.int64, device=device), batch_size=1)
    assert len(voxels.coords) == 1


def test_no_point_inside(device: str) -> None:
    points = torch.tensor([[1e30, 0, 0], [0, -1e30, 0], [0, 0, 3e9], [-5.0001, 0, 0]], device=device)
    voxels = check(points, torch.zeros(4, dtype=torch.int64, device=device), batch_size=2)
    assert voxels.coords.shape == (0, 4) and voxels.offsets.tolist() == [0]


def test_borders_belong_to_the_cell_above(device: str) -> None:
    edges = [torch.tensor(low) + torch.arange(n + 1) * size for low, size, n in zip(MIN, CELL, GRID[::-1], strict=True)]
    points = torch.cartesian_prod(*edges)
    near = torch.cat((points, points.nextafter(points.new_tensor(1e9)), points.nextafter(points.new_tensor(-1e9))))
    voxels = check(near.to(device), torch.zeros(len(near), dtype=torch.int64, device=device), batch_size=1)
    assert len(voxels.coords) == math.prod(GRID)
    # floor, not truncation: just below the range is outside, not in cell 0.
    below = points.new_tensor([[np.nextafter(np.float32(-5), np.float32(-6)), 0, 0]]).to(device)
    assert voxelize(below, voxels.point_voxel[:1] * 0, 1, MIN, CELL, GRID).point_voxel.tolist() == [-1]


def test_a_sample_without_points_keeps_its_place(device: str) -> None:
    batch = torch.tensor([0, 2] * 50, device=device)
    voxels = check(random_points(100, device), batch, batch_size=4)
    assert set(voxels.coords[:, 0].tolist()) == {0, 2}


def test_non_contiguous_tensors(device: str) -> None:
    rows = torch.cat((random_points(500, device), torch.zeros(500, 2, device=device)), dim=1)
    batch = torch.zeros(1000, dtype=torch.int64, device=device)[::2]
    check(rows[:, :3], batch, batch_size=1)
    check(rows[:, :3].flip(0)[::2], batch[:250], batch_size=1)
    check(rows.t().contiguous().t()[:, :3], batch, batch_size=1)
    check(rows[:1, :3].expand(500, 3), batch, batch_size=1)


def test_sixty_thousand_points_on_a_fine_grid() -> None:
    points = torch.randn(60_000, 3) * torch.tensor([30.0, 30.0, 2.0])
    batch = torch.arange(60_000) % 2
    args = ((-54.0, -54.0, -5.0), (0.075, 0.075, 0.2), (40, 1440, 1440))
    got = voxelize(points, batch, 2, *args)
    want = slow_voxelize(points, batch, *args)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_more_cells_than_32_bits_hold() -> None:
    points = torch.tensor([[1.0, 2.0, 3.0], [99_999.5, 99_999.5, 3.5], [1.5, 2.5, 3.5]])
    voxels = voxelize(points, torch.tensor([1, 1, 0]), 2, (0, 0, 0), (1, 1, 1), (100, 100_000, 100_000))
    assert voxels.coords.tolist() == [[0, 3, 2, 1], [1, 3, 2, 1], [1, 3, 99_999, 99_999]]


def test_results_do_not_depend_on_threads(keep_threads: None) -> None:
    points, batch = random_points(50_001), torch.arange(50_001) % 3
    torch.set_num_threads(1)
    alone = voxelize(points, batch, 3, MIN, CELL, GRID)
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(voxelize(points, batch, 3, MIN, CELL, GRID), alone, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refuses_coordinates_that_are_not_finite_with_their_count(bad: float, device: str) -> None:
    points = random_points(100, device)
    points[3, 0] = points[50, 1] = points[99, 2] = bad
    with pytest.raises(ValueError, match="3 of 100 points"):
        voxelize(points, torch.zeros(100, dtype=torch.int64, device=device), 1, MIN, CELL, GRID)


def test_refuses_bad_arguments() -> None:
    points, batch = random_points(10), torch.zeros(10, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"2 of 10 batch indices are not in 0\.\.1"):
        voxelize(points, torch.tensor([0, 1, 2, -1, 0, 0, 0, 0, 0, 0]), 2, MIN, CELL, GRID)
    with pytest.raises(ValueError, match=r"\[P,3\] and \[P\]"):
        voxelize(points, batch[:5], 1, MIN, CELL, GRID)
    with pytest.raises(ValueError, match="float32"):
        voxelize(points.half(), batch, 1, MIN, CELL, GRID)
    with pytest.raises(ValueError, match="must be positive"):
        voxelize(points, batch, 1, MIN, (0.5, 0.0, 1.0), GRID)


@pytest.mark.parametrize("count", [0, 1, 200])
def test_opcheck(count: int, device: str) -> None:
    args = (torch.zeros(count, dtype=torch.int64, device=device), 1, list(MIN), list(CELL), list(GRID))
    torch.library.opcheck(torch.ops.perception.voxelize, (random_points(count, device), *args))


class MeanPerVoxel(torch.nn.Module):
    def forward(self, points: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        voxels = voxelize(points[:, :3], batch, 2, MIN, CELL, GRID)
        return voxels.coords, segment_reduce(points, voxels.order, voxels.offsets, "mean")


def test_exports_with_any_number_of_points_and_voxels() -> None:
    module = MeanPerVoxel()
    count = torch.export.Dim("count", min=0, max=1_000_000)
    example = (torch.cat((random_points(50), torch.ones(50, 2)), 1), torch.arange(50) % 2)
    program = torch.export.export(module, example, dynamic_shapes=({0: count}, {0: count})).module()
    for n in (0, 1, 777):
        points = torch.cat((random_points(n, seed=n), torch.rand(n, 2)), 1)
        batch = torch.arange(n) % 2
        for got, want in zip(program(points, batch), module(points, batch), strict=True):
            assert torch.equal(got, want)

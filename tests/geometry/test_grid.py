"""The BEV grid: cells by floor, edges, centres, and refusal of ranges that are not whole cells."""

import math

import pytest
import torch

from perception.geometry import BEVGrid

GRID = BEVGrid((-54.0, 54.0), (-27.0, 27.0), (-5.0, 3.0), (0.3, 0.3, 8.0))


def test_shape_and_limits():
    assert GRID.shape == (1, 180, 360)
    assert GRID.range_min_m == (-54.0, -27.0, -5.0)
    assert GRID.range_max_m == (54.0, 27.0, 3.0)
    assert GRID.point_cloud_range == (-54.0, -27.0, -5.0, 54.0, 27.0, 3.0)


def test_cells_match_floor_computed_point_by_point():
    grid = BEVGrid((-4, 4), (-2, 2), (-1, 1), (0.5, 0.25, 1.0))
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 12 - 6
    cells, inside = grid.cells_of(points)
    for point, cell, is_inside in zip(points.tolist(), cells.tolist(), inside.tolist(), strict=True):
        expected = [
            math.floor((p - lo) / size)
            for p, lo, size in zip(reversed(point), reversed(grid.range_min_m), reversed(grid.cell_m), strict=True)
        ]
        assert cell == expected
        assert is_inside == all(0 <= c < n for c, n in zip(expected, grid.shape, strict=True))


def test_a_cell_owns_its_lower_edge_and_truncation_never_pulls_points_in():
    points = torch.tensor([[-54.0, -27.0, -5.0], [54.0, 0, 0], [-54.01, 0, 0], [math.nan, 0, 0], [math.inf, 0, 0]])
    cells, inside = GRID.cells_of(points)
    assert inside.tolist() == [True, False, False, False, False]
    assert cells[0].tolist() == [0, 0, 0]
    assert cells[2, 2].item() == -1
    assert GRID.flat_bev_cells(points).tolist() == [0, -1, -1, -1, -1]


def test_centres_lie_in_their_own_cells():
    _, rows, columns = GRID.shape
    centres = GRID.cell_centres()
    assert centres.shape == (rows, columns, 2)
    points = torch.cat([centres, torch.zeros(rows, columns, 1)], -1)
    assert torch.equal(GRID.flat_bev_cells(points), torch.arange(rows * columns).view(rows, columns))


def test_scaled_keeps_the_space():
    coarse = GRID.scaled(4)
    assert coarse.shape == (1, 45, 90)
    assert coarse.point_cloud_range == GRID.point_cloud_range
    with pytest.raises(ValueError, match="stride of 7"):
        GRID.scaled(7)


def test_grid_is_hashable_when_a_config_gives_lists():
    assert hash(BEVGrid([-1, 1], [-1, 1], [0, 1], [1, 1, 1])) == hash(BEVGrid((-1, 1), (-1, 1), (0, 1), (1, 1, 1)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x_range", "cell", "message"),
    [
        ((1.0, 1.0), (1.0, 1.0, 1.0), "x_range_m"),
        ((0.0, math.nan), (1.0, 1.0, 1.0), "x_range_m"),
        ((0.0, 1.0), (0.0, 1.0, 1.0), "positive"),
        ((0.0, 1.0), (0.3, 1.0, 1.0), "whole number"),
        ((0.0, 1.0), (3.0, 1.0, 1.0), "whole number"),
        ((0.0, 1.0), (1.0, 1.0), "three sizes"),
    ],
)
def test_bad_grids_are_refused(x_range, cell, message):
    with pytest.raises(ValueError, match=message):
        BEVGrid(x_range, (0.0, 1.0), (0.0, 1.0), cell)

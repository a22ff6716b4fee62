"""The grid around the car: what a voxel, a BEV cell and the head's map mean in metres."""

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

Range = tuple[float, float]


@dataclass(frozen=True)
class BEVGrid:
    """A regular grid over a box of space in the LiDAR frame.

    Attributes:
        x_range_m, y_range_m, z_range_m: (min, max) along each axis, m; a cell owns its lower edge, not its upper one.
        cell_m: size of a cell along x, y, z, m. Each range is a whole number of cells.

    Raises ValueError when a range is empty, a size is not positive, or a range is not a whole number of cells.
    """

    x_range_m: Range
    y_range_m: Range
    z_range_m: Range
    cell_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        # Configs give lists; tuples keep the grid hashable.
        for name in ("x_range_m", "y_range_m", "z_range_m", "cell_m"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        if len(self.cell_m) != 3:
            raise ValueError(f"cell_m needs three sizes (x, y, z), got {self.cell_m}")
        for axis, size_m in zip("xyz", self.cell_m, strict=True):
            limits = getattr(self, f"{axis}_range_m")
            if len(limits) != 2 or not all(map(isfinite, limits)) or limits[0] >= limits[1]:
                raise ValueError(f"{axis}_range_m needs (min, max) with min < max, got {limits}")
            if not (isfinite(size_m) and size_m > 0):
                raise ValueError(f"cell_m along {axis} must be positive, got {size_m}")
            cells = (limits[1] - limits[0]) / size_m
            if abs(cells - round(cells)) > 1e-4 * max(1.0, cells) or round(cells) < 1:
                raise ValueError(f"{axis}_range_m {limits} is {cells:.4f} cells of {size_m} m, not a whole number")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of cells (Z, Y, X)."""
        ranges = (self.z_range_m, self.y_range_m, self.x_range_m)
        z, y, x = (round((hi - lo) / size) for (lo, hi), size in zip(ranges, reversed(self.cell_m), strict=True))
        return z, y, x

    @property
    def range_min_m(self) -> tuple[float, float, float]:
        """Lower corner (x, y, z), m."""
        return self.x_range_m[0], self.y_range_m[0], self.z_range_m[0]

    @property
    def range_max_m(self) -> tuple[float, float, float]:
        """Upper corner (x, y, z), m."""
        return self.x_range_m[1], self.y_range_m[1], self.z_range_m[1]

    @property
    def point_cloud_range(self) -> tuple[float, float, float, float, float, float]:
        """(x_min, y_min, z_min, x_max, y_max, z_max), m: the order that mmdet3d uses."""
        return *self.range_min_m, *self.range_max_m

    def cells_of(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Cells of points [...,3] (x, y, z in m).

        Returns:
            cells [...,3] int64 (z, y, x): floor((coordinate - min) / size), also where it lies outside the grid;
            inside [...] bool: whether the cell is in the grid. A point that is not finite is outside (its cell is -1).
        """
        lower = points.new_tensor(self.range_min_m)
        cells_xyz = torch.floor((points - lower) / points.new_tensor(self.cell_m))
        upper = cells_xyz.new_tensor(self.shape[::-1])
        inside = ((cells_xyz >= 0) & (cells_xyz < upper)).all(-1)
        finite = torch.isfinite(cells_xyz).all(-1, keepdim=True)
        return torch.where(finite, cells_xyz, -1.0).long().flip(-1), inside

    def flat_bev_cells(self, points: Tensor) -> Tensor:
        """Flat BEV cell y * X + x of points [...,3] (m) as [...] int64; -1 outside the grid, height included."""
        cells, inside = self.cells_of(points)
        return torch.where(inside, cells[..., 1] * self.shape[2] + cells[..., 2], -1)

    def cell_centres(self, device: torch.device | str | None = None) -> Tensor:
        """Centres of the BEV cells [Y,X,2] float32 (x, y in m)."""
        _, rows, columns = self.shape
        x = self.x_range_m[0] + (torch.arange(columns, device=device, dtype=torch.float64) + 0.5) * self.cell_m[0]
        y = self.y_range_m[0] + (torch.arange(rows, device=device, dtype=torch.float64) + 0.5) * self.cell_m[1]
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).float()

    def scaled(self, stride: int) -> "BEVGrid":
        """The same space with cells `stride` times as large along x and y (a map downsampled by `stride`).

        Raises ValueError when the rows or columns do not divide by `stride`.
        """
        _, rows, columns = self.shape
        if stride < 1 or rows % stride or columns % stride:
            raise ValueError(f"{rows}x{columns} cells do not divide by a stride of {stride}")
        size = (self.cell_m[0] * stride, self.cell_m[1] * stride, self.cell_m[2])
        return BEVGrid(self.x_range_m, self.y_range_m, self.z_range_m, size)

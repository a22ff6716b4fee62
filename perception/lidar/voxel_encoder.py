"""Points to one feature per occupied pillar or voxel: the dynamic voxel feature encoder of MVF (Zhou et al., CoRL 2019)
as SST uses it. No point is dropped and no voxel is padded."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from perception.geometry.grid import BEVGrid
from perception.geometry.precision import Float32Module
from perception.lidar.row_norm import row_norm
from perception.ops.fused_linear import fused_linear
from perception.ops.segment_reduce import Reduction, segment_reduce
from perception.ops.voxelize import voxelize

POINT_CHANNELS = 5  # x y z (m), intensity (0..255), age (s)
MAX_INTENSITY = 255.0
MIDDLE_AGE_S = 0.25  # of ten sweeps at 20 Hz
MAX_AGE_S = 10.0  # ten times what any data set's sweeps span


class EncoderLayer(nn.Module):
    """Linear and batch norm over points; the ReLU follows where the encoder wants it."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        # Not torch's linear: exported, that is oneDNN's, which compiles and keeps a kernel for every number of points.
        return row_norm(self.norm, fused_linear(x, self.linear.weight))


class VoxelEncoder(Float32Module):
    """Voxelize points and encode each voxel from its points.

    A point is described by its position, intensity and age, by its offset from the mean of its voxel's points and
    by its offset from its voxel's centre (DynamicVFE with cluster and voxel-centre offsets). All of them are scaled to
    about one: positions by half the range, intensity by 255, age to -1..1 over ten sweeps, offsets by the voxel's size.
    Unscaled intensity gives NaN in half precision. Intensity and age are clamped to what a sensor gives, NaN to 0, so
    that no single point spoils a map.

    It stays in float32 when the network around it is cast to half precision, which does not hold metres.

    Args:
        grid: range and cells.
        channels: output channels of each layer; all but the first see the voxel's pooled features beside the point's.
    """

    range_min: Tensor
    cell: Tensor
    point_centre: Tensor
    point_scale: Tensor
    scaled_min: Tensor
    scaled_max: Tensor

    def __init__(self, grid: BEVGrid, channels: tuple[int, ...] = (64, 128)) -> None:
        super().__init__()
        self.grid = grid
        self.out_channels = channels[-1]
        low, high, cell = (
            torch.tensor(v, dtype=torch.float32) for v in (grid.range_min_m, grid.range_max_m, grid.cell_m)
        )
        self.register_buffer("range_min", low, persistent=False)
        self.register_buffer("cell", cell, persistent=False)
        centre = torch.cat(((low + high) / 2, torch.tensor([0.0, MIDDLE_AGE_S])))
        scale = torch.cat(((high - low) / 2, torch.tensor([MAX_INTENSITY, MIDDLE_AGE_S])))
        self.register_buffer("point_centre", centre, persistent=False)
        self.register_buffer("point_scale", scale, persistent=False)
        self.register_buffer(
            "scaled_min", torch.tensor([-1.0, -1.0, -1.0, 0.0, -MAX_AGE_S / MIDDLE_AGE_S]), persistent=False
        )
        self.register_buffer(
            "scaled_max", torch.tensor([1.0, 1.0, 1.0, 1.0, MAX_AGE_S / MIDDLE_AGE_S]), persistent=False
        )
        widths = (POINT_CHANNELS + 6, *channels)
        self.vfe_layers = nn.ModuleList(
            EncoderLayer(c_in if i == 0 else 2 * c_in, c_out) for i, (c_in, c_out) in enumerate(pairwise(widths))
        )

    def forward(self, points: Tensor, point_batch: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
        """Encode a batch of clouds.

        Args:
            points: [P,5] float32, x y z (m, LiDAR frame), intensity (0..255), age (s).
            point_batch: [P] int64, which sample of the batch each point belongs to.
                Points outside the range reach no voxel; leave them out in training, where batch norm counts each of
                them as a point at the origin.
            batch_size: number of samples; a sample may have no point at all.

        Returns:
            features [V,C] float32 and coords [V,4] int32 (b,z,y,x), sorted.
        """
        # Positions in metres and sums over many points overflow half precision: this part stays in float32.
        with torch.autocast(device_type=points.device.type, enabled=False):
            points = points.float()
            grid = self.grid
            voxels = voxelize(points[:, :3], point_batch, batch_size, grid.range_min_m, grid.cell_m, grid.shape)
            features = self.encode(
                points,
                voxels.point_voxel,
                voxels.coords,
                lambda rows, reduce: segment_reduce(rows, voxels.order, voxels.offsets, reduce),
            )
        return features, voxels.coords

    def encode(
        self, points: Tensor, point_voxel: Tensor, coords: Tensor, pool: Callable[[Tensor, Reduction], Tensor]
    ) -> Tensor:
        """Features [V,C] of voxels [V,4] int32 (b,z,y,x) from points [P,5]; point_voxel [P] int64 is the voxel of each,
        -1 for none, and `pool` reduces rows of points [P,...] to rows of voxels [V,...]."""
        points = points.masked_fill((point_voxel < 0)[:, None], 0.0)
        scaled = (
            ((points - self.point_centre) / self.point_scale).nan_to_num(0.0).clamp(self.scaled_min, self.scaled_max)
        )
        xyz = points[:, :3]
        mean = _to_points(pool(xyz, "mean"), point_voxel)
        # Column by column (x, y, z) from the voxel's index (z, y, x).
        centre = self.range_min + (_to_points(coords[:, [3, 2, 1]].float(), point_voxel) + 0.5) * self.cell
        x = torch.cat((scaled, (xyz - mean) / self.cell, (xyz - centre) / self.cell), dim=1)
        *inner, last = self.vfe_layers
        for layer in inner:
            x = layer(x).relu()
            x = torch.cat((x, _to_points(pool(x, "max"), point_voxel)), dim=1)
        # The maximum of a ReLU is the ReLU of the maximum, of which there are far fewer.
        return pool(last(x), "max").relu()


def _to_points(voxel_values: Tensor, point_voxel: Tensor) -> Tensor:
    """Each point's row of its voxel's values; zeros for a point outside the range (index -1, the padded row)."""
    return nn.functional.pad(voxel_values, (0, 0, 0, 1))[point_voxel]

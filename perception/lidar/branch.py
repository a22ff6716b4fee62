"""The LiDAR branch: points -> voxels -> SST or sparse convolutions -> BEV."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perception.lidar.sparse_encoder import SparseEncoder
from perception.lidar.sst import SST
from perception.lidar.voxel_encoder import VoxelEncoder


class LidarBranch(nn.Module):
    """Points to a BEV map at the backbone's stride.

    Args:
        voxel_encoder: points to the features of voxels.
        backbone: those to the map; SST keeps the resolution of the pillars or voxels, SparseEncoder lowers it.

    Raises ValueError when the two are not made for the same grid.
    """

    def __init__(self, voxel_encoder: VoxelEncoder, backbone: SST | SparseEncoder) -> None:
        super().__init__()
        if backbone.grid != voxel_encoder.grid.shape:
            raise ValueError(
                f"the backbone's grid {backbone.grid} is not the voxel encoder's {voxel_encoder.grid.shape} (Z,Y,X)"
            )
        self.voxel_encoder = voxel_encoder
        self.backbone = backbone
        self.out_channels = backbone.out_channels
        self.out_grid = voxel_encoder.grid.scaled(backbone.stride)

    def forward(self, points: Tensor, point_batch: Tensor, batch_size: int) -> Tensor:
        """points [P,5] float32 (VoxelEncoder's), point_batch [P] int64 -> BEV [B,C,Y,X], cells of `out_grid`."""
        features, coords = self.voxel_encoder(points, point_batch, batch_size)
        # The encoder stays in float32; a backbone cast to half precision gets what it is made of.
        features = features.to(next(self.backbone.parameters()).dtype)
        # On the CPU, low precision linear layers are compiled anew for every number of tokens (oneDNN), which costs
        # more than they save.
        device = points.device.type
        with torch.autocast(device, enabled=device != "cpu" and torch.is_autocast_enabled(device)):
            return self.backbone(features, coords, batch_size)

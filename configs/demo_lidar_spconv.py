"""demo_lidar.py with sparse convolutions in place of SST; needs spconv (extra [spconv])."""

from mmengine.config import read_base

from perception.fusion.fuser import ConcatFuser
from perception.geometry.grid import BEVGrid
from perception.lidar.branch import LidarBranch
from perception.lidar.sparse_encoder import SparseEncoder
from perception.lidar.voxel_encoder import VoxelEncoder

with read_base():
    from .demo_lidar import *  # noqa: F403

# At stride 4 the map has the demo's cells of 0.8 m.
voxels = dict(
    type=BEVGrid, x_range_m=(-51.2, 51.2), y_range_m=(-51.2, 51.2), z_range_m=(-5.0, 3.0), cell_m=(0.2, 0.2, 0.4)
)
# Assigned, not updated: an update would keep SST's arguments.
model.network.lidar = dict(  # noqa: F405
    type=LidarBranch,
    voxel_encoder=dict(type=VoxelEncoder, grid=voxels, channels=(16,)),
    backbone=dict(
        type=SparseEncoder, in_channels=16, grid=(20, 512, 512), channels=(16, 32, 64), blocks=1, output_channels=64
    ),
)
model.network.fuser = dict(type=ConcatFuser, in_channels=dict(lidar=128), channels=64)  # noqa: F405

"""nuscenes_lidar.py with sparse convolutions over small voxels in place of SST; needs spconv (extra [spconv])."""

from mmengine.config import read_base

from perception.fusion.decoder import BEVDecoder
from perception.fusion.fuser import ConcatFuser
from perception.geometry.grid import BEVGrid
from perception.lidar.branch import LidarBranch
from perception.lidar.sparse_encoder import SparseEncoder
from perception.lidar.voxel_encoder import VoxelEncoder

with read_base():
    from .nuscenes_lidar import *  # noqa: F403

# CenterPoint's finest voxels: 0.075 x 0.075 x 0.2 m. The beams of the 32-beam sensor are 1.33 degrees apart, which is
# 0.23 m at 10 m and more farther out: lower voxels would tell nothing more apart. Stride 8 makes the map's cells 0.6 m,
# those of nuscenes_lidar.py's head, so that the decoder keeps them.
voxels = dict(
    type=BEVGrid, x_range_m=(-54.0, 54.0), y_range_m=(-54.0, 54.0), z_range_m=(-5.0, 3.0), cell_m=(0.075, 0.075, 0.2)
)
lidar = dict(
    type=LidarBranch,
    # One layer: a voxel of this size holds a point or two, of which CenterPoint takes the mean.
    voxel_encoder=dict(type=VoxelEncoder, grid=voxels, channels=(16,)),
    # CenterPoint's widths (mmdet3d, centerpoint_voxel0075_second_secfpn).
    backbone=dict(
        type=SparseEncoder, in_channels=16, grid=(40, 1440, 1440), channels=(16, 32, 64, 128), blocks=2,
        output_channels=128,
    ),
)  # fmt: skip
# Assigned, not updated: an update would keep SST's arguments.
model.network.lidar = lidar  # noqa: F405
model.network.fuser = dict(type=ConcatFuser, in_channels=dict(lidar=256), channels=256)  # noqa: F405
model.network.decoder = dict(  # noqa: F405
    type=BEVDecoder, in_channels=256, channels=(128, 256), layers=(5, 5), first_stride=1, out_channels=128
)

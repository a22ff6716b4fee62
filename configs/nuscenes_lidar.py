"""LiDAR alone at full size: SST over 0.3 m pillars, ten sweeps, classes balanced, rare objects pasted.

Make the info files first, then the database of objects:
    tools/create_data.py nuscenes --root data/nuscenes --version v1.0-trainval --out data/nuscenes
    tools/create_data.py gt-database --ann-file data/nuscenes/nuscenes_infos_train.json --out data/nuscenes/gt_database
"""

from mmdet3d.datasets.dataset_wrappers import CBGSDataset
from mmengine.config import read_base

from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.transforms import GTPaste, PackFrame, RangeFilter
from perception.detector import FramePreprocessor, FusionDetector
from perception.engine.fade import FadeGTPaste
from perception.fusion.decoder import BEVDecoder
from perception.fusion.fuser import ConcatFuser
from perception.geometry.grid import BEVGrid
from perception.head.center_head import CenterHead
from perception.head.center_targets import CenterLoss
from perception.head.second_stage import SecondStage
from perception.lidar.branch import LidarBranch
from perception.lidar.sst import SST
from perception.lidar.voxel_encoder import VoxelEncoder
from perception.model import PerceptionNetwork

with read_base():
    from ._base_.nuscenes_data import *  # noqa: F403
    from ._base_.one_cycle import *  # noqa: F403
    from ._base_.runtime import *  # noqa: F403

# 0.3 m pillars: SST's on Waymo are 0.32 m.
grid = dict(
    type=BEVGrid, x_range_m=(-54.0, 54.0), y_range_m=(-54.0, 54.0), z_range_m=(-5.0, 3.0), cell_m=(0.3, 0.3, 8.0)
)
# The decoder halves the map: 0.6 m cells, finer than CenterPoint's 0.8 m with pillars.
head_grid = dict(
    type=BEVGrid, x_range_m=(-54.0, 54.0), y_range_m=(-54.0, 54.0), z_range_m=(-5.0, 3.0), cell_m=(0.6, 0.6, 8.0)
)

lidar = dict(
    type=LidarBranch,
    voxel_encoder=dict(type=VoxelEncoder, grid=grid, channels=(64, 128)),
    # SST's widths. A 32-beam sensor leaves few pillars in a window, so windows are 4.8 m instead of 3.8 m, as SST's
    # authors advise for nuScenes.
    backbone=dict(
        type=SST, in_channels=128, channels=128, heads=8, hidden=256, blocks=6, window=(1, 16, 16), grid=(1, 360, 360),
        conv_dilations=(),
    ),
)  # fmt: skip
decoder = dict(type=BEVDecoder, in_channels=128, channels=(128, 256), layers=(5, 5), first_stride=2, out_channels=128)
# CenterPoint's task groups, by mmdet3d's class order.
groups = ((0,), (1, 4), (3, 2), (9,), (6, 5), (7, 8))
head = dict(
    type=CenterHead, in_channels=256, grid=head_grid, groups=groups, channels=64, candidates=500,
    # CenterPoint's circle NMS radii.
    nms_radius_m=(4.0, 12.0, 10.0, 10.0, 12.0, 0.85, 0.85, 0.175, 0.175, 1.0),
)  # fmt: skip

model = dict(
    type=FusionDetector,
    data_preprocessor=dict(type=FramePreprocessor),
    network=dict(
        type=PerceptionNetwork,
        lidar=lidar,
        camera=None,
        fuser=dict(type=ConcatFuser, in_channels=dict(lidar=128), channels=128),
        decoder=decoder,
        head=head,
        second_stage=dict(type=SecondStage, classes=10, in_channels=256),
    ),
    loss=dict(type=CenterLoss, grid=head_grid, classes=10),
)

# Without cameras: their images would be decoded for nothing, and where they are live no object is pasted.
gt_database = f"{data_root}/gt_database"  # noqa: F405
train_pipeline = [
    load_lidar,  # noqa: F405
    load_boxes,  # noqa: F405
    # CenterPoint's numbers, which it has from Det3D's config of CBGS; the CBGS paper's own table differs.
    dict(
        type=GTPaste, database=gt_database, min_points=5,
        samples=dict(
            car=2, truck=3, construction_vehicle=7, bus=4, trailer=6, barrier=2, motorcycle=6, bicycle=6, pedestrian=2,
            traffic_cone=2,
        ),
    ),
    move_scene,  # noqa: F405
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),  # noqa: F405
    dict(type=PackFrame),
]  # fmt: skip
test_pipeline = [
    load_lidar,  # noqa: F405
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),  # noqa: F405
    dict(type=PackFrame),
]
# CBGS (Zhu et al., arXiv 1908.09492) draws as many samples for each class, so that an epoch of nuScenes has 123,000
# samples instead of 28,130; CenterPoint's 20 epochs are of those. Every class must occur in the info file.
train_dataloader.dataset = dict(  # noqa: F405
    type=CBGSDataset,
    dataset=dict(
        type=NuScenesFusionDataset, ann_file=f"{data_root}/nuscenes_infos_train.json", pipeline=train_pipeline  # noqa: F405
    ),
)  # fmt: skip
val_dataloader.dataset.pipeline = test_pipeline  # noqa: F405
test_dataloader.dataset.pipeline = test_pipeline  # noqa: F405
# The last 5 of 20 epochs see no pasted objects, as TransFusion's do.
custom_hooks.append(dict(type=FadeGTPaste, last_epochs=5))  # noqa: F405

"""KITTI: one camera that looks forward, three classes, a range ahead. The worked example of one's own data.

    tools/create_data.py kitti --root data/kitti --out data/kitti_frames
    tools/train.py configs/kitti_fusion.py --dry-run
    tools/train.py configs/kitti_fusion.py

For data of your own: `data_root`, `class_names`, `cameras`, the range with its grids, and `image_hw`. Not trained yet.
"""

from mmdet3d.datasets.transforms import LoadAnnotations3D
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop

from perception.camera.branch import CameraBranch
from perception.camera.lift import ScaleAwareLift
from perception.camera.neck import TridentNeck
from perception.camera.semantics import SemanticHead
from perception.camera.trident import TridentResNet
from perception.datasets.own_frames import OwnFramesDataset
from perception.datasets.transforms import (
    BEVAugment,
    ImageAugment,
    LoadCameras,
    LoadSweeps,
    ModalityDropout,
    PackFrame,
    RangeFilter,
)
from perception.detector import FramePreprocessor, FusionDetector
from perception.evaluation.own_metric import OwnFramesMetric
from perception.fusion.decoder import BEVDecoder
from perception.fusion.fuser import ConcatFuser
from perception.geometry.grid import BEVGrid
from perception.head.center_head import CenterHead
from perception.head.center_targets import CenterLoss
from perception.lidar.branch import LidarBranch
from perception.lidar.sst import SST
from perception.lidar.voxel_encoder import VoxelEncoder
from perception.model import PerceptionNetwork

with read_base():
    from ._base_.one_cycle import *  # noqa: F403
    from ._base_.runtime import *  # noqa: F403

data_root = "data/kitti_frames"
class_names = ("Car", "Pedestrian", "Cyclist")
cameras = ("image_2",)
# Labels are drawn in the camera's image, so there is nothing to learn behind it. 0.32 m are SST's pillars.
point_cloud_range = [-41.6, 0.0, -3.0, 41.6, 76.8, 1.0]
grid = dict(
    type=BEVGrid, x_range_m=(-41.6, 41.6), y_range_m=(0.0, 76.8), z_range_m=(-3.0, 1.0), cell_m=(0.32, 0.32, 4.0)
)
image_hw = (192, 640)

model = dict(
    type=FusionDetector,
    data_preprocessor=dict(type=FramePreprocessor),
    network=dict(
        type=PerceptionNetwork,
        lidar=dict(
            type=LidarBranch,
            voxel_encoder=dict(type=VoxelEncoder, grid=grid, channels=(64, 128)),
            backbone=dict(
                type=SST, in_channels=128, channels=128, heads=8, hidden=256, blocks=4, window=(1, 12, 12),
                grid=(1, 240, 260), conv_dilations=(),
            ),
        ),
        camera=dict(
            type=CameraBranch,
            backbone=dict(type=TridentResNet, depth=18),
            neck=dict(type=TridentNeck, in_channels=(128, 256), channels=64),
            lift=dict(
                type=ScaleAwareLift, in_channels=64, channels=61, grid=grid, depth_range_m=(1.0, 77.0), depth_bins=76,
                ground_z_m=-1.73,
            ),
            semantic=dict(type=SemanticHead, in_channels=64, classes=3),
        ),
        fuser=dict(type=ConcatFuser, in_channels=dict(lidar=128, camera=64), channels=128),
        decoder=dict(type=BEVDecoder, in_channels=128, channels=(128, 128), layers=(3, 3), out_channels=64),
        head=dict(type=CenterHead, in_channels=128, grid=grid, groups=((0,), (1, 2)), channels=64, candidates=200),
    ),
    loss=dict(type=CenterLoss, grid=grid, classes=3),
)  # fmt: skip

load = [dict(type=LoadSweeps, sweeps=0), dict(type=LoadCameras, cameras=cameras, min_hw=image_hw)]
train_pipeline = [
    *load,
    dict(type=LoadAnnotations3D, with_bbox_3d=True, with_label_3d=True),
    dict(type=ImageAugment, size_hw=image_hw, scale=(0.95, 1.1), crop_x=(0.0, 1.0), crop_y=(0.5, 1.0), flip=0.5),
    # A quarter turn would leave the range; the camera's view is all there is.
    dict(type=BEVAugment, rotation_rad=(-0.3, 0.3), scale=(0.95, 1.05), flip_x=0.5),
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),
    dict(type=ModalityDropout, no_cameras=0.1, no_lidar=0.1),
    dict(type=PackFrame),
]
test_pipeline = [
    *load,
    dict(type=ImageAugment, size_hw=image_hw),
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),
    dict(type=PackFrame),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=OwnFramesDataset, ann_file=f"{data_root}/infos_train.json", classes=class_names, pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=OwnFramesDataset,
        ann_file=f"{data_root}/infos_val.json",
        classes=class_names,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type=OwnFramesMetric, out_dir="work_dirs/kitti_fusion/val")
test_evaluator = val_evaluator

train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=20, val_interval=5)  # the schedule's total_steps
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

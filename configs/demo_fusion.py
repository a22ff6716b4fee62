"""The demo: a small fused detector on the synthetic world, trained in minutes on two CPU cores.

`make demo` trains demo_lidar.py first and begins from that; tools/train.py alone begins from nothing.
"""

from mmdet3d.datasets.transforms import LoadAnnotations3D
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import EpochBasedTrainLoop, TestLoop

from perception.camera.branch import CameraBranch
from perception.camera.lift import ScaleAwareLift
from perception.camera.neck import TridentNeck
from perception.camera.semantics import SemanticHead
from perception.camera.trident import TridentResNet
from perception.datasets.nuscenes import NuScenesFusionDataset
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
from perception.engine.amp import Bfloat16OptimWrapper
from perception.engine.muon import MuonAdamW
from perception.engine.schedule import ResumableOneCycleLR
from perception.evaluation.metric import NuScenesDetectionMetric
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
    from ._base_.runtime import *  # noqa: F403

data_root = "data/synthetic"
point_cloud_range = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
# Coarse cells keep the dense part affordable on two cores; the offsets in the cell carry the precision.
grid = dict(
    type=BEVGrid, x_range_m=(-51.2, 51.2), y_range_m=(-51.2, 51.2), z_range_m=(-5.0, 3.0), cell_m=(0.8, 0.8, 8.0)
)
image_hw = (128, 352)
# TridentNet's ranges for these images, a quarter of the size that they were made for.
valid_ranges_px = ((0.0, 24.0), (8.0, 40.0), (24.0, 1e8))

model = dict(
    type=FusionDetector,
    data_preprocessor=dict(type=FramePreprocessor),
    network=dict(
        type=PerceptionNetwork,
        lidar=dict(
            type=LidarBranch,
            voxel_encoder=dict(type=VoxelEncoder, grid=grid, channels=(16, 64)),
            backbone=dict(
                type=SST, in_channels=64, channels=64, heads=4, hidden=128, blocks=2, window=(1, 10, 10),
                grid=(1, 128, 128), conv_dilations=(),
            ),
        ),
        camera=dict(
            type=CameraBranch,
            backbone=dict(type=TridentResNet, depth=18, base_channels=32),
            neck=dict(type=TridentNeck, in_channels=(64, 128), channels=48),
            lift=dict(
                type=ScaleAwareLift, in_channels=48, channels=32, grid=grid, depth_range_m=(1.0, 53.0), depth_bins=52,
                valid_ranges_px=valid_ranges_px,
            ),
            semantic=dict(type=SemanticHead, in_channels=48, classes=10),
        ),
        fuser=dict(type=ConcatFuser, in_channels=dict(lidar=64, camera=42), channels=64, kernel=1),
        decoder=dict(type=BEVDecoder, in_channels=64, channels=(64, 128), layers=(1, 4), out_channels=32),
        head=dict(
            type=CenterHead, in_channels=64, grid=grid, groups=(tuple(range(10)),), channels=64, candidates=300,
            # Half a typical width of each class.
            nms_radius_m=(1.0, 1.5, 1.5, 1.5, 1.5, 0.5, 0.5, 0.3, 0.3, 0.5),
        ),
        second_stage=dict(type=SecondStage, classes=10, in_channels=64, image_channels=48),
        without_lidar=0.5,
    ),
    loss=dict(type=CenterLoss, grid=grid, classes=10, box_weight=1.0, box_radius=1),
)  # fmt: skip

# The key sweep and those 0.25 and 0.5 s before it: few points, and time enough to see velocity.
load = [dict(type=LoadSweeps, sweeps=2, every=5), dict(type=LoadCameras, min_hw=image_hw)]
train_pipeline = [
    *load,
    dict(type=LoadAnnotations3D, with_bbox_3d=True, with_label_3d=True),
    dict(
        type=ImageAugment, size_hw=image_hw, scale=(0.95, 1.1), crop_x=(0.0, 1.0), crop_y=(0.9, 1.0), flip=0.5,
        brightness=0.1, contrast=0.1, saturation=0.1,
    ),
    # No mirroring: which way traffic drives helps to tell headings. Not ablated on its own.
    dict(type=BEVAugment, rotation_rad=(-0.2, 0.2), scale=(0.95, 1.05)),
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),
    dict(type=ModalityDropout, no_cameras=0.1, one_camera=0.05),
    dict(type=PackFrame),
]  # fmt: skip
test_pipeline = [
    *load,
    dict(type=ImageAugment, size_hw=image_hw),
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),
    dict(type=PackFrame),
]

train_dataloader = dict(
    batch_size=1,  # two taught no more per sample seen
    num_workers=0,  # of two cores a worker would take what the network's threads wait for
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=NuScenesFusionDataset, ann_file=f"{data_root}/nuscenes_infos_train.json", pipeline=train_pipeline
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=NuScenesFusionDataset,
        ann_file=f"{data_root}/nuscenes_infos_val.json",
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_evaluator = dict(type=NuScenesDetectionMetric, out_dir="work_dirs/demo/test", split="val")

epochs = 5
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=epochs)
test_cfg = dict(type=TestLoop)
optim_wrapper = dict(
    type=Bfloat16OptimWrapper,
    # What it brings over AdamW: docs/training.md, "Optimizer".
    optimizer=dict(type=MuonAdamW, lr=3e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=35.0),
)
param_scheduler = [
    dict(
        type=ResumableOneCycleLR,
        eta_max=3e-3,
        total_steps=epochs,
        by_epoch=True,
        convert_to_iter_based=True,
        pct_start=0.3,
    )
]
custom_hooks = [dict(type=EMAHook, ema_type=ExponentialMovingAverage, momentum=0.003)]

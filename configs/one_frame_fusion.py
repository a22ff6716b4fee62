"""One real key frame, learnt by heart: the proof that geometry, targets, losses, decoding and evaluation agree.

python tools/create_data.py nuscenes --root ../shared/nuscenes-one-frame --version v1.0-mini --out data/one-frame
python tools/train.py configs/one_frame_fusion.py --work-dir work_dirs/one-frame
python tools/test.py configs/one_frame_fusion.py work_dirs/one-frame/latest.pth
"""

from mmdet3d.datasets.transforms import LoadAnnotations3D
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler, RepeatDataset, pseudo_collate
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from torch.optim import AdamW

from perception.camera.branch import CameraBranch
from perception.camera.lift import ScaleAwareLift
from perception.camera.neck import TridentNeck
from perception.camera.semantics import SemanticHead
from perception.camera.trident import TridentResNet
from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.transforms import ImageAugment, LoadCameras, LoadSweeps, PackFrame, RangeFilter
from perception.detector import FramePreprocessor, FusionDetector
from perception.engine.amp import Bfloat16OptimWrapper
from perception.engine.schedule import ResumableOneCycleLR
from perception.evaluation.metric import NuScenesDetectionMetric
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
    from ._base_.runtime import *  # noqa: F403

ann_file = "data/one-frame/nuscenes_infos_train.json"
# 0.4 m separates two pedestrians who walk side by side; 50 m is as far as the metric looks.
point_cloud_range = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
grid = dict(
    type=BEVGrid, x_range_m=(-51.2, 51.2), y_range_m=(-51.2, 51.2), z_range_m=(-5.0, 3.0), cell_m=(0.4, 0.4, 8.0)
)
image_hw = (128, 352)

model = dict(
    type=FusionDetector,
    data_preprocessor=dict(type=FramePreprocessor),
    network=dict(
        type=PerceptionNetwork,
        lidar=dict(
            type=LidarBranch,
            voxel_encoder=dict(type=VoxelEncoder, grid=grid, channels=(32, 64)),
            backbone=dict(
                type=SST, in_channels=64, channels=64, heads=4, hidden=128, blocks=2, window=(1, 12, 12),
                grid=(1, 256, 256), conv_dilations=(),
            ),
        ),
        camera=dict(
            type=CameraBranch,
            backbone=dict(type=TridentResNet, depth=18, base_channels=32),
            neck=dict(type=TridentNeck, in_channels=(64, 128), channels=48),
            lift=dict(
                type=ScaleAwareLift, in_channels=48, channels=32, grid=grid, depth_range_m=(1.0, 51.0), depth_bins=25
            ),
            semantic=dict(type=SemanticHead, in_channels=48, classes=10),
        ),
        fuser=dict(type=ConcatFuser, in_channels=dict(lidar=64, camera=42), channels=64),
        decoder=dict(type=BEVDecoder, in_channels=64, channels=(64, 96), layers=(2, 3), out_channels=48),
        head=dict(type=CenterHead, in_channels=96, grid=grid, groups=(tuple(range(10)),), channels=64),
    ),
    loss=dict(type=CenterLoss, grid=grid, classes=10, box_weight=1.0, box_radius=1),
)  # fmt: skip

load = [
    dict(type=LoadSweeps, sweeps=0),
    dict(type=LoadCameras, min_hw=image_hw),
]
pack = [
    dict(type=ImageAugment, size_hw=image_hw),
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),
    dict(type=PackFrame),
]
train_pipeline = [*load, dict(type=LoadAnnotations3D, with_bbox_3d=True, with_label_3d=True), *pack]
test_pipeline = [*load, *pack]

train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=RepeatDataset,
        times=80,
        dataset=dict(type=NuScenesFusionDataset, ann_file=ann_file, pipeline=train_pipeline),
    ),
)
val_dataloader = test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(type=NuScenesFusionDataset, ann_file=ann_file, pipeline=test_pipeline, test_mode=True),
)
val_evaluator = test_evaluator = dict(
    type=NuScenesDetectionMetric, out_dir="work_dirs/one-frame/val", split="mini_train"
)

epochs = 8
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=epochs, val_interval=epochs)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)
optim_wrapper = dict(
    type=Bfloat16OptimWrapper,
    optimizer=dict(type=AdamW, lr=2e-3, weight_decay=0.0),
    clip_grad=dict(max_norm=35.0),
)
param_scheduler = [
    dict(
        type=ResumableOneCycleLR,
        eta_max=4e-3,
        total_steps=epochs,
        by_epoch=True,
        convert_to_iter_based=True,
        pct_start=0.3,
    )
]

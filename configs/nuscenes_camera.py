"""Cameras alone at full size: TridentNet on ResNet-50, scale-aware lift; BEVDepth's sizes and schedule.

Numbers said to be BEVDepth's are those of its R50 256x704 128x128 24-epoch configs (Li et al., AAAI 2023;
Megvii-BaseDetection/BEVDepth, exps/nuscenes/base_exp.py and exps/base_cli.py). The LiDAR is there in training only, to
teach depths and classes in the images.

Begin the backbone from ImageNet weights (torchvision's names), or from a 2D TridentNet:
    tools/train.py configs/nuscenes_camera.py --cfg-options model.backbone_checkpoint=PATH
"""

from mmengine.config import read_base
from mmengine.optim import MultiStepLR

from perception.camera.branch import CameraBranch
from perception.camera.image_head import TridentImageHead
from perception.camera.lift import VALID_RANGES_PX, ScaleAwareLift
from perception.camera.neck import TridentNeck
from perception.camera.semantics import SemanticHead
from perception.camera.trident import TridentResNet
from perception.fusion.decoder import BEVDecoder
from perception.fusion.fuser import ConcatFuser
from perception.geometry.grid import BEVGrid
from perception.head.second_stage import SecondStage

with read_base():
    from .nuscenes_lidar import *  # noqa: F403

    # isort: split
    # Again, since nuscenes_lidar.py leaves the cameras out and pastes objects that images would not show.
    from ._base_.nuscenes_data import *  # noqa: F403
    from ._base_.one_cycle import *  # noqa: F403

# BEVDepth's grid: cells finer than a pixel's width far off would stay empty.
camera_grid = dict(
    type=BEVGrid, x_range_m=(-51.2, 51.2), y_range_m=(-51.2, 51.2), z_range_m=(-5.0, 3.0), cell_m=(0.8, 0.8, 8.0)
)
camera_range = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]

camera = dict(
    type=CameraBranch,
    backbone=dict(type=TridentResNet, depth=50),
    neck=dict(type=TridentNeck, in_channels=(512, 1024), channels=128),
    # BEVDepth's 112 bins of 0.5 m from 2 m to 58 m, and its 80 channels; at stride 8 where it has 16.
    lift=dict(
        type=ScaleAwareLift, in_channels=128, channels=80, grid=camera_grid, depth_range_m=(2.0, 58.0), depth_bins=112,
        valid_ranges_px=VALID_RANGES_PX,
    ),
    # Ten class channels more, painted by what the image shows; learnt from LiDAR points inside boxes.
    semantic=dict(type=SemanticHead, in_channels=128, classes=10),
    # Runs in training only.
    image_head=dict(type=TridentImageHead, in_channels=128, classes=10, valid_ranges_px=VALID_RANGES_PX),
)  # fmt: skip

camera_head = {**head, "grid": camera_grid}  # noqa: F405
model.network = dict(  # noqa: F405
    type=PerceptionNetwork,  # noqa: F405
    lidar=None,
    camera=camera,
    fuser=dict(type=ConcatFuser, in_channels=dict(camera=90), channels=128),
    # The head looks at 0.8 m cells, as BEVDepth's.
    decoder=dict(type=BEVDecoder, in_channels=128, channels=(128, 256), layers=(5, 5), out_channels=128),
    head=camera_head,
    second_stage=dict(type=SecondStage, classes=10, in_channels=256, image_channels=128),
)
model.loss.grid = camera_grid  # noqa: F405
model.depth_weight = 3.0  # noqa: F405  BEVDepth's; the other weights of what is learnt in the images are plain ones
model.backbone_checkpoint = None  # noqa: F405

# On several GPUs: the lift's trust in a LiDAR at hand has no gradient without one.
find_unused_parameters = True

train_pipeline = [
    dict(type=LoadSweeps, sweeps=0),  # noqa: F405
    dict(type=LoadCameras, min_hw=image_hw),  # noqa: F405
    load_boxes,  # noqa: F405
    # BEVDepth's, as BEVFusion's: 0.386..0.55 of the recorded size, where 0.44 fits the width; +-5.4 degrees; the lower
    # end of the picture is kept.
    dict(
        type=ImageAugment, size_hw=image_hw, scale=(0.877, 1.25), crop_x=(0.0, 1.0), crop_y=(1.0, 1.0), flip=0.5,  # noqa: F405
        rotate_rad=(-0.0942, 0.0942),
    ),
    # BEVDepth's: +-22.5 degrees, +-5 %, both mirrors, no shift.
    dict(type=BEVAugment, rotation_rad=(-0.3927, 0.3927), scale=(0.95, 1.05), flip_x=0.5, flip_y=0.5),  # noqa: F405
    dict(type=RangeFilter, point_cloud_range=camera_range),  # noqa: F405
    dict(type=ModalityDropout, one_camera=0.1),  # noqa: F405
    dict(type=PackFrame),  # noqa: F405
]  # fmt: skip
test_pipeline = [
    dict(type=LoadCameras, min_hw=image_hw),  # noqa: F405
    dict(type=ImageAugment, size_hw=image_hw),  # noqa: F405
    dict(type=PackFrame),  # noqa: F405
]
train_dataloader.dataset.pipeline = train_pipeline  # noqa: F405
val_dataloader.dataset.pipeline = test_pipeline  # noqa: F405
test_dataloader.dataset.pipeline = test_pipeline  # noqa: F405

# BEVDepth: 2e-4 for a batch of 64 (8 on each of 8 GPUs; scale it with yours), a tenth after epochs 19 and 23 of 24.
train_dataloader.batch_size = 8  # noqa: F405
train_cfg.max_epochs = 24  # noqa: F405
optim_wrapper.optimizer.update(lr=2e-4, weight_decay=1e-7)  # noqa: F405
optim_wrapper.clip_grad.max_norm = 5.0  # noqa: F405
param_scheduler = [dict(type=MultiStepLR, milestones=[19, 23], gamma=0.1, by_epoch=True)]

"""Cameras alone at full size: TridentNet on ResNet-50, scale-aware lift."""

from mmengine.config import read_base

from perception.camera.branch import CameraBranch
from perception.camera.lift import ScaleAwareLift
from perception.camera.neck import TridentNeck
from perception.camera.semantics import SemanticHead
from perception.camera.trident import TridentResNet
from perception.fusion.fuser import ConcatFuser

with read_base():
    from .nuscenes_lidar import *  # noqa: F403

    # isort: split
    # Again, since nuscenes_lidar.py leaves the cameras out and pastes objects that images would not show.
    from ._base_.nuscenes_data import *  # noqa: F403
    from ._base_.one_cycle import *  # noqa: F403

camera = dict(
    type=CameraBranch,
    backbone=dict(type=TridentResNet, depth=50),
    neck=dict(type=TridentNeck, in_channels=(512, 1024), channels=128),
    # Lift-Splat's depths, 1 m bins, out to the range.
    lift=dict(
        type=ScaleAwareLift, in_channels=128, channels=80, grid=grid, depth_range_m=(1.0, 60.0), depth_bins=59  # noqa: F405
    ),
    # Ten class channels more, painted by what the image shows; learnt from LiDAR points inside boxes.
    semantic=dict(type=SemanticHead, in_channels=128, classes=10),
)  # fmt: skip
model.network.update(  # noqa: F405
    lidar=None, camera=camera, fuser=dict(type=ConcatFuser, in_channels=(90,), channels=128)
)

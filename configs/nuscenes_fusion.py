"""Cameras and LiDAR at full size: the two branches of nuscenes_lidar.py and nuscenes_camera.py."""

from mmengine.config import read_base

from perception.fusion.fuser import ConcatFuser

with read_base():
    from .nuscenes_camera import *  # noqa: F403

model.network.update(  # noqa: F405
    lidar=lidar, fuser=dict(type=ConcatFuser, in_channels=(128, 90), channels=128)  # noqa: F405
)  # fmt: skip

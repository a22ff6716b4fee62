"""Cameras and LiDAR at full size: the two branches of nuscenes_lidar.py and nuscenes_camera.py on the LiDAR's grid.

The last of three stages: all but the cameras begins from nuscenes_lidar.py's checkpoint, the image backbone from a 2D
TridentNet (docs/training.md has the command).
"""

from mmengine.config import read_base

from perception.fusion.fuser import ConcatFuser

with read_base():
    from .nuscenes_camera import *  # noqa: F403

    # isort: split
    # Again: both sensors are loaded, and the schedule is the LiDAR branch's.
    from ._base_.nuscenes_data import *  # noqa: F403
    from ._base_.one_cycle import *  # noqa: F403

camera.lift.grid = grid  # noqa: F405
model.network.update(  # noqa: F405
    lidar=lidar,  # noqa: F405
    camera=camera,  # noqa: F405
    fuser=dict(type=ConcatFuser, in_channels=dict(lidar=128, camera=90), channels=128),
    decoder=decoder,  # noqa: F405
    head=head,  # noqa: F405
    without_lidar=0.5,
)
model.loss.grid = head_grid  # noqa: F405
model.part_checkpoints = dict(lidar=None, camera=None, fuser=None, decoder=None, head=None, second_stage=None)  # noqa: F405
find_unused_parameters = False

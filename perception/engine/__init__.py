"""Pieces for mmengine's Runner. Importing it lets mmdet and mmdet3d import on mmcv-lite, and checkpoints resume."""

from perception.engine.checkpoints import allow_training_state, load_without_running
from perception.mmcv_ops import install

install()
allow_training_state()
load_without_running()

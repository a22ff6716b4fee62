"""The demo with a gate that weighs the sensors in every cell, in place of a concatenation (docs/fusion.md)."""

from mmengine.config import read_base

from perception.fusion.fuser import GatedFuser

with read_base():
    from .demo_fusion import *  # noqa: F403

model.network.fuser = dict(type=GatedFuser, in_channels=dict(lidar=64, camera=42), channels=64)  # noqa: F405
test_evaluator.out_dir = "work_dirs/demo_fusion_gated/test"  # noqa: F405

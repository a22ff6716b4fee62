"""The demo whose camera branch also learns masks, from its own LiDAR points and boxes (docs/panoptic.md)."""

from mmengine.config import read_base

from perception.camera.panoptic_head import PanopticHead
from perception.camera.panoptic_loss import PanopticLoss
from perception.engine.matching import hungarian

with read_base():
    from .demo_fusion import *  # noqa: F403

model.network.camera.panoptic = dict(type=PanopticHead, in_channels=48, things=10, stuff=2, channels=48)  # noqa: F405
model.panoptic_loss = dict(type=PanopticLoss, matcher=hungarian, warm_up_steps=200)  # noqa: F405
test_evaluator.out_dir = "work_dirs/demo_fusion_panoptic/test"  # noqa: F405

"""TridentNet on ResNet-101, COCO: the paper's model (40.6 AP with the authors' own initial weights and code)."""

from mmengine.config import read_base

with read_base():
    from .trident_2d_r50_coco import *  # noqa: F403

model.backbone.update(depth=101, trident_blocks=22)  # noqa: F405
# conv5 has the same three blocks in both depths.

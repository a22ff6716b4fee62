"""TridentNet Fast on ResNet-101, COCO: three branches learn from objects of every size, and the middle one runs alone.

The paper's 39.9 AP, with the time of a plain detector.
"""

from mmengine.config import read_base

with read_base():
    from .trident_2d_r101_coco import *  # noqa: F403

model.update(valid_ranges=None, test_branch=1)  # noqa: F405

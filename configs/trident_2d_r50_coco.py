"""TridentNet on ResNet-50, COCO. Start from torchvision's weights:

tools/convert_checkpoint.py trident resnet50.pth work_dirs/resnet50_2d.pth --config configs/trident_2d_r50_coco.py
tools/train.py configs/trident_2d_r50_coco.py --cfg-options load_from=work_dirs/resnet50_2d.pth
"""

from mmengine.config import read_base

with read_base():
    # isort: off
    from ._base_.runtime import *  # noqa: F403
    from ._base_.trident_2d import *  # noqa: F403

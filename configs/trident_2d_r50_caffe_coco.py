"""mmdet's published TridentNet (R50-caffe): the network that its checkpoints are for.

They were trained without ranges and run the middle branch (mmdet reports 37.7 AP for the 1x schedule).

tools/convert_checkpoint.py trident tridentnet_r50_caffe_1x_coco.pth work_dirs/trident.pth \\
    --config configs/trident_2d_r50_caffe_coco.py
tools/test.py configs/trident_2d_r50_caffe_coco.py work_dirs/trident.pth
"""

from mmengine.config import read_base

with read_base():
    from .trident_2d_r50_coco import *  # noqa: F403

model.update(valid_ranges=None, test_branch=1)  # noqa: F405
# All six blocks of conv4 have branches, and bottlenecks stride in their first convolution.
model.backbone.update(trident_blocks=None, style="caffe")  # noqa: F405
model.roi_head.shared_head.update(style="caffe")  # noqa: F405
model.data_preprocessor.update(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False)  # noqa: F405
model.test_cfg.rcnn.update(score_thr=0.05)  # noqa: F405

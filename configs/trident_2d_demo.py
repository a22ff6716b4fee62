"""TridentNet in 2D on the synthetic images, small enough for two CPU cores.

tools/create_data.py coco2d --ann-file data/synthetic/nuscenes_infos_train.json --out data/synthetic/coco2d_train.json
tools/create_data.py coco2d --ann-file data/synthetic/nuscenes_infos_val.json --out data/synthetic/coco2d_val.json
tools/train.py configs/trident_2d_demo.py
tools/test.py configs/trident_2d_demo.py work_dirs/trident_2d_demo/latest.pth
"""

from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, RandomFlip, Resize
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.losses import CrossEntropyLoss, L1Loss
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.runner import EpochBasedTrainLoop, TestLoop
from torch.optim import AdamW

from perception.datasets.nuscenes_infos import CLASSES
from perception.detection2d import (
    CocoScores,
    ScaleAwareAssigner,
    ScaleAwareRoIHead,
    ScaleAwareRPNHead,
    TridentBackbone,
    TridentDetector,
)
from perception.engine.amp import Bfloat16OptimWrapper
from perception.engine.schedule import ResumableOneCycleLR

with read_base():
    from ._base_.runtime import *  # noqa: F403

data_root = "data/synthetic/"
channels = 128  # of conv4

model = dict(
    type=TridentDetector,
    # sqrt(width * height), px of the recorded 704 x 396: three quarters of the objects, half of them, and a quarter.
    valid_ranges=((0, 80), (30, 140), (80, float("inf"))),
    data_preprocessor=dict(
        type=DetDataPreprocessor, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_size_divisor=16,
    ),
    backbone=dict(type=TridentBackbone, depth=18, base_channels=32),
    rpn_head=dict(
        type=ScaleAwareRPNHead,
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(type=AnchorGenerator, scales=[0.5, 1, 2, 4, 8, 16], ratios=[0.5, 1.0, 2.0], strides=[16]),
        bbox_coder=dict(type=DeltaXYWHBBoxCoder, target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_cls=dict(type=CrossEntropyLoss, use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type=L1Loss, loss_weight=1.0),
    ),
    roi_head=dict(
        type=ScaleAwareRoIHead,
        bbox_roi_extractor=dict(
            type=SingleRoIExtractor,
            roi_layer=dict(type="RoIAlign", output_size=5, sampling_ratio=2),
            out_channels=channels,
            featmap_strides=[16],
        ),
        bbox_head=dict(
            type=Shared2FCBBoxHead,
            in_channels=channels,
            fc_out_channels=256,
            roi_feat_size=5,
            num_classes=10,
            reg_class_agnostic=True,
            bbox_coder=dict(type=DeltaXYWHBBoxCoder, target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_cls=dict(type=CrossEntropyLoss, use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type=L1Loss, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type=ScaleAwareAssigner, out_of_range_iou=0.3, pos_iou_thr=0.6, neg_iou_thr=0.3, min_pos_iou=0.3,
                ignore_iof_thr=0.5,
            ),
            sampler=dict(type=RandomSampler, num=128, pos_fraction=0.5, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
        ),
        rpn_proposal=dict(nms_pre=1000, max_per_img=200, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type=ScaleAwareAssigner, out_of_range_iou=0.5, pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5,
                match_low_quality=False, ignore_iof_thr=0.5,
            ),
            # Objects among the proposals: in the first hundred steps there are few good ones otherwise.
            sampler=dict(type=RandomSampler, num=64, pos_fraction=0.5, add_gt_as_proposals=True),
            pos_weight=-1,
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=200, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.01, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100),
    ),
)  # fmt: skip

load = dict(type=LoadImageFromFile)
resize = dict(type=Resize, scale=(512, 288), keep_ratio=True)
train_pipeline = [
    load,
    dict(type=LoadAnnotations, with_bbox=True),
    resize,
    dict(type=RandomFlip, prob=0.5),
    dict(type=PackDetInputs),
]
test_pipeline = [
    load,
    resize,
    dict(type=PackDetInputs, meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
dataset = dict(type=CocoDataset, data_root=data_root, data_prefix=dict(img=""), metainfo=dict(classes=CLASSES))
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        **dataset, ann_file="coco2d_train.json", pipeline=train_pipeline, filter_cfg=dict(filter_empty_gt=True)
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(**dataset, ann_file="coco2d_val.json", pipeline=test_pipeline, test_mode=True),
)
test_evaluator = dict(type=CocoScores, ann_file=f"{data_root}coco2d_val.json", out_dir="work_dirs/trident_2d_demo/test")

epochs = 2
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=epochs)
test_cfg = dict(type=TestLoop)
optim_wrapper = dict(
    type=Bfloat16OptimWrapper, optimizer=dict(type=AdamW, lr=2e-3, weight_decay=0.01), clip_grad=dict(max_norm=10.0)
)
param_scheduler = [
    dict(
        type=ResumableOneCycleLR,
        eta_max=2e-3,
        total_steps=epochs,
        by_epoch=True,
        convert_to_iter_based=True,
        pct_start=0.2,
    )
]
default_scope = "mmdet"

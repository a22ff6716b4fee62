"""TridentNet in 2D at full size: ResNet-50 to conv4, conv5 as the head of the second stage, COCO, twelve epochs.

Numbers are the official R101 config's (tusen-ai/simpledet) or, where it says nothing of them, mmdet's for TridentNet.
"""

from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import AspectRatioBatchSampler, CocoDataset
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, RandomFlip, Resize
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.losses import CrossEntropyLoss, L1Loss
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.roi_heads.shared_heads import ResLayer
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.optim import LinearLR, MultiStepLR, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from torch.optim import SGD

from perception.detection2d import (
    CocoScores,
    ScaleAwareAssigner,
    ScaleAwareRoIHead,
    ScaleAwareRPNHead,
    TridentBackbone,
    TridentDetector,
)

data_root = "data/coco/"

model = dict(
    type=TridentDetector,
    # sqrt(width * height), px of the recorded image.
    valid_ranges=((0, 90), (30, 160), (90, float("inf"))),
    data_preprocessor=dict(
        type=DetDataPreprocessor, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    # conv4's first block strides; the others have branches.
    backbone=dict(
        type=TridentBackbone, depth=50, trident_blocks=5, frozen_stages=1, norm_eval=True, frozen_norms=True
    ),
    rpn_head=dict(
        type=ScaleAwareRPNHead,
        in_channels=1024,
        feat_channels=1024,
        anchor_generator=dict(type=AnchorGenerator, scales=[2, 4, 8, 16, 32], ratios=[0.5, 1.0, 2.0], strides=[16]),
        bbox_coder=dict(type=DeltaXYWHBBoxCoder, target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_cls=dict(type=CrossEntropyLoss, use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type=L1Loss, loss_weight=1.0),
    ),
    roi_head=dict(
        type=ScaleAwareRoIHead,
        shared_head=dict(type=ResLayer, depth=50, stage=3, stride=2, norm_cfg=dict(type="BN", requires_grad=False)),
        bbox_roi_extractor=dict(
            type=SingleRoIExtractor,
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
            out_channels=1024,
            featmap_strides=[16],
        ),
        bbox_head=dict(
            type=BBoxHead,
            with_avg_pool=True,
            roi_feat_size=7,
            in_channels=2048,
            num_classes=80,
            bbox_coder=dict(type=DeltaXYWHBBoxCoder, target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_cls=dict(type=CrossEntropyLoss, use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type=L1Loss, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type=ScaleAwareAssigner, out_of_range_iou=0.3, pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3
            ),
            sampler=dict(type=RandomSampler, num=256, pos_fraction=0.5, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
        ),
        rpn_proposal=dict(
            nms_pre=12000, max_per_img=500, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0
        ),
        rcnn=dict(
            assigner=dict(
                type=ScaleAwareAssigner, out_of_range_iou=0.5, pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5,
                match_low_quality=False, ignore_iof_thr=0.5,
            ),
            # Three times 128 where a plain detector has 512.
            sampler=dict(type=RandomSampler, num=128, pos_fraction=0.5, add_gt_as_proposals=False),
            pos_weight=-1,
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=6000, max_per_img=1000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.001, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100),
    ),
)  # fmt: skip

resize = dict(type=Resize, scale=(1333, 800), keep_ratio=True)
train_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=LoadAnnotations, with_bbox=True),
    resize,
    dict(type=RandomFlip, prob=0.5),
    dict(type=PackDetInputs),
]
test_pipeline = [
    dict(type=LoadImageFromFile),
    resize,
    dict(type=PackDetInputs, meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    batch_sampler=dict(type=AspectRatioBatchSampler),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=CocoDataset,
        data_root=data_root,
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=CocoDataset,
        data_root=data_root,
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type=CocoScores, ann_file=f"{data_root}annotations/instances_val2017.json", out_dir="work_dirs/trident_2d/val"
)
test_evaluator = val_evaluator

epochs = 12
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=epochs, val_interval=epochs)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)
# For 16 images a step (8 GPUs); scale with the batch.
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.02, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type=LinearLR, start_factor=0.001, by_epoch=False, begin=0, end=3000),
    dict(type=MultiStepLR, by_epoch=True, begin=0, end=epochs, milestones=[8, 11], gamma=0.1),
]
default_scope = "mmdet"

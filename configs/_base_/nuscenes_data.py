"""nuScenes at full size: ten sweeps, six cameras at 256x704, +-54 m in pillars of 0.3 m.

Make the info files first:
    tools/create_data.py nuscenes --root data/nuscenes --version v1.0-trainval --out data/nuscenes
"""

from mmdet3d.datasets.transforms import LoadAnnotations3D
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop

from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.transforms import (
    BEVAugment,
    ImageAugment,
    LoadCameras,
    LoadSweeps,
    ModalityDropout,
    PackFrame,
    RangeFilter,
)
from perception.evaluation.metric import NuScenesDetectionMetric

data_root = "data/nuscenes"
# The metric looks 50 m far; 54 m is CenterPoint's range for 0.075 m voxels and a whole number of 0.3 m cells.
point_cloud_range = [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0]
image_hw = (256, 704)  # BEVFusion's image size

load_lidar = dict(type=LoadSweeps, sweeps=9)
load = [load_lidar, dict(type=LoadCameras, min_hw=image_hw)]
load_boxes = dict(type=LoadAnnotations3D, with_bbox_3d=True, with_label_3d=True)
# CenterPoint's: +-22.5 degrees and +-5 %; BEVFusion's shift.
move_scene = dict(
    type=BEVAugment, rotation_rad=(-0.3927, 0.3927), scale=(0.95, 1.05), translation_std_m=(0.5, 0.5, 0.5),
    flip_x=0.5, flip_y=0.5,
)  # fmt: skip
train_pipeline = [
    *load,
    load_boxes,
    # BEVFusion's image augmentation: 0.38..0.55 of the recorded size, where 0.44 fits the width.
    dict(
        type=ImageAugment, size_hw=image_hw, scale=(0.86, 1.25), crop_x=(0.0, 1.0), crop_y=(1.0, 1.0), flip=0.5,
        rotate_rad=(-0.0942, 0.0942),
    ),
    move_scene,
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),
    dict(type=ModalityDropout, no_cameras=0.1, one_camera=0.1),
    dict(type=PackFrame),
]  # fmt: skip
test_pipeline = [
    *load,
    dict(type=ImageAugment, size_hw=image_hw),
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),
    dict(type=PackFrame),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=NuScenesFusionDataset, ann_file=f"{data_root}/nuscenes_infos_train.json", pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=NuScenesFusionDataset,
        ann_file=f"{data_root}/nuscenes_infos_val.json",
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type=NuScenesDetectionMetric, out_dir="work_dirs/val")
test_evaluator = val_evaluator

epochs = 20  # CenterPoint's
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=epochs, val_interval=5)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

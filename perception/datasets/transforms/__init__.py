"""Pipeline steps from an info entry to the network's inputs; registered with mmdet3d, listed in configs in order.

Between the steps a sample is a dictionary: points [P,5] float32; camera_images, a list of RGB [H,W,3] uint8;
camera_from_lidar, intrinsics and image_aug [N,4,4] float64; camera_mask [N] bool; lidar_mask; lidar_aug [4,4] float64;
gt_bboxes_3d and gt_labels_3d as mmdet3d has them. `PackFrame` composes the matrices, so the order of steps is free.
"""

from perception.datasets.transforms.augment_bev import BEVAugment
from perception.datasets.transforms.augment_images import ImageAugment
from perception.datasets.transforms.faults import (
    DelayCameras,
    DelayLidar,
    LimitLidar,
    LoadThinnedSweeps,
    MiscalibrateCameras,
    SpoilImages,
)
from perception.datasets.transforms.filters import RangeFilter, ShufflePoints
from perception.datasets.transforms.gt_paste import GTPaste
from perception.datasets.transforms.loading import LoadCameras, LoadSweeps
from perception.datasets.transforms.packing import PackFrame
from perception.datasets.transforms.sensor_dropout import DropSensors, ModalityDropout

__all__ = [
    "BEVAugment",
    "DelayCameras",
    "DelayLidar",
    "DropSensors",
    "GTPaste",
    "ImageAugment",
    "LimitLidar",
    "LoadCameras",
    "LoadSweeps",
    "LoadThinnedSweeps",
    "MiscalibrateCameras",
    "ModalityDropout",
    "PackFrame",
    "RangeFilter",
    "ShufflePoints",
    "SpoilImages",
]

"""The demo's LiDAR branch alone, on the demo's data (`make demo` or tools/create_data.py synthetic makes it)."""

from mmengine.config import read_base

with read_base():
    from .demo_fusion import *  # noqa: F403

load = [dict(type=LoadSweeps, sweeps=2, every=5)]  # noqa: F405
train_pipeline = [
    *load,
    dict(type=LoadAnnotations3D, with_bbox_3d=True, with_label_3d=True),  # noqa: F405
    dict(type=BEVAugment, rotation_rad=(-0.2, 0.2), scale=(0.95, 1.05)),  # noqa: F405
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),  # noqa: F405
    dict(type=PackFrame),  # noqa: F405
]
test_pipeline = [*load, dict(type=RangeFilter, point_cloud_range=point_cloud_range), dict(type=PackFrame)]  # noqa: F405
train_dataloader.dataset.pipeline = train_pipeline  # noqa: F405
test_dataloader.dataset.pipeline = test_pipeline  # noqa: F405
test_evaluator.out_dir = "work_dirs/demo_lidar/test"  # noqa: F405
epochs = 7
train_cfg.max_epochs = epochs  # noqa: F405
param_scheduler[0]["total_steps"] = epochs  # noqa: F405
model.network.camera = None  # noqa: F405
model.network.second_stage.image_channels = 0  # noqa: F405
model.network.fuser.in_channels = dict(lidar=64)  # noqa: F405

"""The demo's cameras alone, on the demo's data (`make demo` or tools/create_data.py synthetic makes it).

The LiDAR is there in training only: its points teach depths and classes in the images, as BEVDepth's do.
"""

from mmengine.config import read_base

from perception.camera.image_head import TridentImageHead

with read_base():
    from .demo_fusion import *  # noqa: F403

load_cameras = dict(type=LoadCameras, min_hw=image_hw)  # noqa: F405
train_pipeline = [
    dict(type=LoadSweeps, sweeps=0),  # noqa: F405
    load_cameras,
    dict(type=LoadAnnotations3D, with_bbox_3d=True, with_label_3d=True),  # noqa: F405
    dict(
        type=ImageAugment, size_hw=image_hw, scale=(0.95, 1.1), crop_x=(0.0, 1.0), crop_y=(0.9, 1.0), flip=0.5,  # noqa: F405
        brightness=0.1, contrast=0.1, saturation=0.1,
    ),
    dict(type=BEVAugment, rotation_rad=(-0.2, 0.2), scale=(0.95, 1.05)),  # noqa: F405
    dict(type=RangeFilter, point_cloud_range=point_cloud_range),  # noqa: F405
    dict(type=PackFrame),  # noqa: F405
]  # fmt: skip
test_pipeline = [load_cameras, dict(type=ImageAugment, size_hw=image_hw), dict(type=PackFrame)]  # noqa: F405
train_dataloader.dataset.pipeline = train_pipeline  # noqa: F405
test_dataloader.dataset.pipeline = test_pipeline  # noqa: F405
test_evaluator.out_dir = "work_dirs/demo_camera/test"  # noqa: F405
model.network.camera.image_head = dict(  # noqa: F405
    type=TridentImageHead,
    in_channels=48,
    classes=10,
    valid_ranges_px=valid_ranges_px,  # noqa: F405
)
model.network.lidar = None  # noqa: F405
model.network.fuser.in_channels = dict(camera=42)  # noqa: F405
model.depth_weight = 3.0  # noqa: F405  (BEVDepth's)

"""The demo's detector trained for an hour of one core: four times the scenes, 3,840 samples, a 2D head in training.

tools/create_data.py synthetic --out data/world --train-scenes 240 --val-scenes 24 --keyframes 4 --image-size 704 396
"""

from mmengine.config import read_base

from perception.camera.image_head import TridentImageHead

with read_base():
    from .demo_fusion import *  # noqa: F403

data_root = "data/world"
train_dataloader.dataset.ann_file = f"{data_root}/nuscenes_infos_train.json"  # noqa: F405
test_dataloader.dataset.ann_file = f"{data_root}/nuscenes_infos_val.json"  # noqa: F405
test_evaluator.out_dir = "work_dirs/demo_fusion_long/test"  # noqa: F405
model.network.without_lidar = 1.0  # noqa: F405
model.network.fuser.channels = 96  # noqa: F405
model.network.decoder.in_channels = 96  # noqa: F405
model.network.camera.image_head = dict(  # noqa: F405
    type=TridentImageHead,
    in_channels=48,
    classes=10,
    valid_ranges_px=valid_ranges_px,  # noqa: F405
)
model.depth_weight = 3.0  # noqa: F405  (BEVDepth's)
epochs = 4
train_cfg.max_epochs = epochs  # noqa: F405
param_scheduler[0]["total_steps"] = epochs  # noqa: F405

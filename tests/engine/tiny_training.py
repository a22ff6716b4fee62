"""A training run of seconds: the demo's LiDAR config with coarse cells, on a few random clouds with objects in them."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from object_frames import write_frames

from perception.engine.run import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
EPOCHS, FRAMES = 3, 4
COARSE = {
    **{
        f"model.{grid}.cell_m": (6.4, 6.4, 8.0)
        for grid in ("network.lidar.voxel_encoder.grid", "network.head.grid", "loss.grid")
    },
    "model.network.lidar.backbone.grid": (1, 16, 16),
    "model.network.lidar.backbone.blocks": 1,
}


def write_tiny_data(root: Path) -> Path:
    """The data set's info file."""
    return write_frames(root, FRAMES, sweeps=2, background=500)


def tiny_config(infos: Path, workers: int = 0, **options: Any) -> Config:
    """EMA, mixed precision, one-cycle schedule and random motion of the scene, as the demo trains."""
    return load_config(
        CONFIGS / "demo_lidar.py",
        {
            **COARSE,
            "train_dataloader.dataset.ann_file": str(infos),
            "test_dataloader.dataset.ann_file": str(infos),
            "train_dataloader.num_workers": workers,
            "train_dataloader.persistent_workers": workers > 0,
            "train_cfg.max_epochs": EPOCHS,
            "param_scheduler.0.total_steps": EPOCHS,
            **options,
        },
    )

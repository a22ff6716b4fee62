"""Measuring a step of a config, on one key frame with a network small enough for seconds."""

from pathlib import Path

import pytest
from mmengine.config import ConfigDict
from object_frames import write_frames

from perception.datasets.nuscenes_infos import create_info_files
from perception.datasets.transforms import ModalityDropout
from perception.engine.run import load_config
from perception.engine.step import measure_step

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CONFIG = CONFIGS / "one_frame_fusion.py"
COARSE = {
    **{
        f"model.{grid}.cell_m": (3.2, 3.2, 8.0)
        for grid in ("network.lidar.voxel_encoder.grid", "network.camera.lift.grid", "network.head.grid", "loss.grid")
    },
    "model.network.lidar.backbone.grid": (1, 32, 32),
}


def test_a_step_reports_shapes_time_and_memory(one_frame_root: Path, tmp_path: Path) -> None:
    infos = create_info_files(one_frame_root, "v1.0-mini", tmp_path, progress=False)["train"]
    config = load_config(CONFIG, COARSE)
    config.train_dataloader.dataset.dataset.pipeline.insert(
        -1, ConfigDict(type=ModalityDropout, no_cameras=0.0, no_lidar=1.0)
    )
    measured = measure_step(config, str(infos), steps=1, batch_size=2)
    assert all(int(shape.split("x")[0]) > 10_000 for shape in measured["inputs"]["points"])
    assert measured["inputs"]["images"] == ["6x3x128x352"] * 2
    assert measured["parameters_m"] > 0.5 and measured["train_step_tflop"] > 0
    assert measured["train_step_s"] > 0 and measured["inference_s"] > 0 and measured["peak_memory_gib"] > 0.1
    with pytest.raises(ValueError, match="steps is 0"):
        measure_step(load_config(CONFIG, COARSE), str(infos), steps=0)


def test_a_config_that_pastes_objects_and_balances_classes_needs_neither_for_a_step(tmp_path: Path) -> None:
    """One frame lacks most classes, which CBGSDataset fails on, and there is no database of objects."""
    infos = write_frames(tmp_path / "frames", 1, sweeps=1)
    coarse = {
        **{f"model.{grid}.cell_m": (3.375, 3.375, 8.0) for grid in ("network.lidar.voxel_encoder.grid",)},
        **{f"model.{grid}.cell_m": (6.75, 6.75, 8.0) for grid in ("network.head.grid", "loss.grid")},
        "model.network.lidar.backbone.grid": (1, 32, 32),
        "model.network.lidar.backbone.blocks": 1,
    }
    measured = measure_step(load_config(CONFIGS / "nuscenes_lidar.py", coarse), str(infos), batch_size=1)
    assert measured["inputs"].keys() == {"points", "lidar_mask"} and measured["train_step_s"] > 0

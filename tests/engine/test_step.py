"""Measuring a step of a config, on the real key frame with a network small enough for seconds."""

from pathlib import Path

import pytest

from perception.datasets.nuscenes_infos import create_info_files
from perception.engine.run import load_config
from perception.engine.step import measure_step

CONFIG = Path(__file__).resolve().parents[2] / "configs/one_frame_fusion.py"
COARSE = {
    **{
        f"model.{grid}.cell_m": (3.2, 3.2, 8.0)
        for grid in ("network.lidar.voxel_encoder.grid", "network.camera.lift.grid", "network.head.grid", "loss.grid")
    },
    "model.network.lidar.backbone.grid": (1, 32, 32),
}


def test_a_step_reports_shapes_time_and_memory(one_frame_root: Path, tmp_path: Path) -> None:
    infos = create_info_files(one_frame_root, "v1.0-mini", tmp_path, progress=False)["train"]
    measured = measure_step(load_config(CONFIG, COARSE), str(infos), steps=1, batch_size=2)
    assert measured["inputs"]["images"] == ["6x3x128x352"] * 2
    assert measured["parameters_m"] > 0.5
    assert measured["train_step_s"] > 0 and measured["inference_s"] > 0 and measured["peak_memory_gib"] > 0.1
    with pytest.raises(ValueError, match="steps is 0"):
        measure_step(load_config(CONFIG, COARSE), str(infos), steps=0)

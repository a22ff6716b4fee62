"""The demo's whole road on two tiny scenes, with a network small enough for seconds."""

import json
from pathlib import Path

from perception.engine.demo import run_demo

CONFIG = Path(__file__).resolve().parents[2] / "configs/demo_fusion.py"
COARSE = (3.2, 3.2, 8.0)
OPTIONS = {
    "model.network.lidar.voxel_encoder.grid.cell_m": COARSE,
    "model.network.camera.lift.grid.cell_m": COARSE,
    "model.network.head.grid.cell_m": COARSE,
    "model.loss.grid.cell_m": COARSE,
    "model.network.lidar.backbone.grid": (1, 32, 32),
    "train_cfg.max_epochs": 1,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "test_dataloader.num_workers": 0,
}


def test_from_nothing_to_a_report_and_a_second_run_reuses_it(tmp_path: Path) -> None:
    data, work_dir = tmp_path / "data", tmp_path / "demo"

    def demo() -> dict[str, dict[str, float]]:
        return run_demo(CONFIG, data, work_dir, 1, 1, 2, OPTIONS)

    metrics = demo()
    assert json.loads((work_dir / "metrics.json").read_text()) == metrics
    assert metrics.keys() == {"fused", "lidar_only", "camera_only", "stages_s"}
    for sensors in ("fused", "lidar_only", "camera_only"):
        assert 0 <= metrics[sensors]["NDS"] <= 1
        assert len(metrics[sensors]["AP"]) == 10
        submission = json.loads((work_dir / "test" / sensors / "results.json").read_text())
        assert len(submission["results"]) == 2
    assert len(list((work_dir / "frames").glob("*.png"))) == 2
    page = (work_dir / "report.html").read_text()
    assert "LiDAR only" in page and page.count("data:image/jpeg;base64,") == 2

    written = {path: path.stat().st_mtime_ns for path in (work_dir / "latest.pth", data / "synthetic.json")}
    again = demo()
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    for stage in ("data", "train"):
        assert again["stages_s"][stage] == metrics["stages_s"][stage]
    assert again["fused"]["NDS"] == metrics["fused"]["NDS"]

"""The demo's whole road on two tiny scenes, with a network small enough for seconds."""

import json
from pathlib import Path

import torch

from perception.engine.checkpoints import read_checkpoint
from perception.engine.demo import run_demo

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
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
        return run_demo(CONFIGS / "demo_fusion.py", CONFIGS / "demo_lidar.py", data, work_dir, 1, 1, 2, OPTIONS)

    metrics = demo()
    assert json.loads((work_dir / "metrics.json").read_text()) == metrics
    folders = {name: work_dir / "test" / name for name in ("fused", "lidar_only", "camera_only")}
    folders["lidar_alone"] = work_dir / "lidar" / "test" / "fused"
    assert metrics.keys() == {*folders, "stages_s"}
    for name, folder in folders.items():
        assert 0 <= metrics[name]["NDS"] <= 1
        assert len(metrics[name]["AP"]) == 10
        submission = json.loads((folder / "results.json").read_text())
        assert len(submission["results"]) == 2
    assert len(list((work_dir / "frames").glob("*.png"))) == 2
    page = (work_dir / "report.html").read_text()
    assert "LiDAR only" in page and page.count("data:image/jpeg;base64,") == 2

    alone, fused = (read_checkpoint(folder / "latest.pth")["state_dict"] for folder in (work_dir / "lidar", work_dir))
    # Counters of steps begin anew.
    same = {key: torch.equal(fused[key], value) for key, value in alone.items() if not key.endswith("_tracked")}
    assert all(same[key] for key in same if key.startswith("network.lidar.")) and not all(same.values())

    kept = (work_dir / "latest.pth", work_dir / "lidar" / "latest.pth", data / "synthetic.json")
    written = {path: path.stat().st_mtime_ns for path in kept}
    again = demo()
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    for stage in ("data", "lidar", "train"):
        assert again["stages_s"][stage] == metrics["stages_s"][stage]
    assert again["fused"]["NDS"] == metrics["fused"]["NDS"]

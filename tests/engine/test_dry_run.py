"""What a dry run says of a training, and what becomes of bad files in one."""

import json
import shutil
from pathlib import Path

import pytest
from mmdet3d.registry import MODELS
from tiny_training import EPOCHS, FRAMES, tiny_config, write_tiny_data

from perception.datasets.bad_data import set_on_bad_data
from perception.engine.dry_run import describe, dry_run
from perception.engine.run import train


@pytest.fixture(scope="module")
def infos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("dry") / "data")


def test_a_dry_run_tells_sizes_and_time(infos: Path) -> None:
    config = tiny_config(infos)
    report = dry_run(config, progress=False)
    model = MODELS.build(config.model)
    parameters = report["parameters_m"]
    assert parameters["all"] == pytest.approx(sum(p.numel() for p in model.parameters()) / 1e6, abs=1e-3)
    assert set(parameters) == {"lidar", "fuser", "decoder", "head", "second_stage", "all"}
    assert report["data"] == {split: {"samples": FRAMES, "files": FRAMES} for split in ("train", "test")}
    assert (report["steps_per_epoch"], report["epochs"]) == (FRAMES, EPOCHS)
    assert report["shapes"]["lidar"] == "1x64x16x16" and report["shapes"]["head.heatmap"].startswith("1x10x16x16")
    assert report["train_step_s"] > 0 and report["peak_memory_gib"] > 0.1 and report["estimate_h"] >= 0
    assert report["problems"] == [] and "every file is whole" in describe(report)


def test_a_dry_run_names_bad_files(infos: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(infos.parent, tmp_path / "data"))
    first, second = sorted((root / "samples/LIDAR_TOP").glob("key_*.bin"))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-7])
    report = dry_run(tiny_config(root / infos.name), progress=False)
    assert report["bad_files"] == 4  # two in each of two data sets
    assert any(f"missing: {first}" in problem for problem in report["problems"])
    assert any(f"truncated: {second}" in problem for problem in report["problems"])
    assert "train_step_s" not in report and "4 bad files" in describe(report)


def test_training_goes_on_without_bad_files_and_names_them(infos: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(infos.parent, tmp_path / "data"))
    bad = sorted((root / "samples/LIDAR_TOP").glob("key_*.bin"))[0]
    bad.write_bytes(b"not points")
    with pytest.raises(ValueError, match=bad.name):
        train(tiny_config(root / infos.name), tmp_path / "stop")
    config = tiny_config(root / infos.name, workers=1)
    set_on_bad_data(config._cfg_dict, "skip")
    train(config, tmp_path / "skip")
    report = json.loads((tmp_path / "skip" / "bad_files.json").read_text())
    assert report["count"] == 1 and list(report["files"]) == [str(bad)]
    assert report["files"][str(bad)]["samples"] == EPOCHS and "truncated" in report["files"][str(bad)]["problem"]

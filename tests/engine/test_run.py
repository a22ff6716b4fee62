"""Training, resuming, testing and inference on the real key frame, with a network small enough for seconds."""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from perception.datasets.nuscenes_infos import create_info_files
from perception.engine.checkpoints import load_weights
from perception.engine.options import apply_options
from perception.engine.run import SENSORS, evaluate, load_config, train

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "configs/one_frame_fusion.py"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Scattered sums of several threads differ in their last bits from run to run, which training then magnifies."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def infos(one_frame_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("infos")
    return create_info_files(one_frame_root, "v1.0-mini", out, progress=False)["train"]


def options(infos: Path, epochs: int) -> dict[str, Any]:
    """The real config with coarse cells, so that a step takes a fraction of a second."""
    grid = "model.network.{}.cell_m"
    coarse = (3.2, 3.2, 8.0)
    lidar, camera = "lidar.voxel_encoder.grid", "camera.lift.grid"
    return {
        **{grid.format(name): coarse for name in (lidar, camera, "head.grid")},
        "model.loss.grid.cell_m": coarse,
        "model.network.lidar.backbone.grid": (1, 32, 32),
        "train_dataloader.dataset.dataset.ann_file": str(infos),
        "train_dataloader.dataset.times": 2,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "val_dataloader.dataset.ann_file": str(infos),
        "test_dataloader.dataset.ann_file": str(infos),
        "train_cfg.max_epochs": epochs,
        "train_cfg.val_interval": 10,
    }


@pytest.fixture(scope="module")
def trained(infos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work dir after two epochs of two steps."""
    work_dir = tmp_path_factory.mktemp("run")
    train(load_config(CONFIG, options(infos, 2)), work_dir)
    return work_dir


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(work_dir / "latest.pth", weights_only=True)["state_dict"]
    return state


def test_resume_ends_where_an_uninterrupted_run_ends(infos: Path, trained: Path, tmp_path: Path) -> None:
    """A run stopped after its first epoch: its second checkpoint is taken away."""
    for name in ("epoch_1.pth",):
        os.link(trained / name, tmp_path / name)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))
    train(load_config(CONFIG, options(infos, 2)), tmp_path, resume=True)
    expected, got = weights(trained), weights(tmp_path)
    assert expected.keys() == got.keys()
    first = torch.load(tmp_path / "epoch_1.pth", weights_only=True)["state_dict"]
    assert any(not torch.equal(first[k], got[k]) for k in got)
    for name in expected:
        assert torch.equal(expected[name], got[name]), name


def test_scores_and_submission_of_every_choice_of_sensors(
    infos: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = apply_options(load_config(CONFIG, options(infos, 2)), argparse.Namespace(quiet=True))
    metrics = evaluate(config, trained / "latest.pth", tmp_path, tuple(SENSORS))
    printed = capfd.readouterr()
    assert "Epoch(test)" not in printed.out + printed.err and "it/s" not in printed.err
    assert json.loads((tmp_path / "metrics.json").read_text()).keys() == metrics.keys() == SENSORS.keys()
    for name in SENSORS:
        submission = json.loads((tmp_path / name / "results.json").read_text())
        assert len(submission["results"]) == 1
        assert 0 <= metrics[name]["NDS"] <= 1


def test_checkpoint_of_another_config_is_refused(trained: Path) -> None:
    with pytest.raises(ValueError, match="of another config"):
        load_weights(torch.nn.Linear(2, 2), str(trained / "latest.pth"))


def test_damaged_and_missing_checkpoints_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"bad.pth"):
        load_weights(torch.nn.Linear(2, 2), str(bad))
    with pytest.raises(FileNotFoundError, match=r"gone.pth"):
        load_weights(torch.nn.Linear(2, 2), str(tmp_path / "gone.pth"))


def test_config_errors_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.py"):
        load_config(tmp_path / "none.py")
    with pytest.raises(ValueError, match="no 'trian_cfg'; did you mean train_cfg"):
        load_config(CONFIG, {"trian_cfg.max_epochs": 1})

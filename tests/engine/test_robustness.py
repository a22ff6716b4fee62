"""The matrix of failing sensors: every condition's pipeline runs on a frame, and the rows say what was scored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose

from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.nuscenes_infos import create_info_files
from perception.datasets.transforms import ImageAugment, LoadCameras, LoadSweeps, PackFrame
from perception.engine import robustness
from perception.engine.robustness import conditions, disturbed, measure_robustness
from perception.geometry import rigid

CAMERAS = ["CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT", "CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT"]
LIDAR, IMAGES = dict(type=LoadSweeps, sweeps=2), [dict(type=LoadCameras), dict(type=ImageAugment, size_hw=(64, 176))]
PIPELINE = [LIDAR, *IMAGES, dict(type=PackFrame)]


@pytest.fixture(scope="module")
def dataset(one_frame_root: Path, tmp_path_factory: pytest.TempPathFactory) -> NuScenesFusionDataset:
    infos = create_info_files(one_frame_root, "v1.0-mini", tmp_path_factory.mktemp("infos"), progress=False)["train"]
    return NuScenesFusionDataset(str(infos), test_mode=True)


def entry(dataset: NuScenesFusionDataset) -> dict[str, Any]:
    """The real frame, with its own cloud as earlier sweeps of a car that drove 0.5 m between them."""
    info = dataset.get_data_info(0)
    info["lidar_sweeps"] = [
        {
            "timestamp": info["timestamp"] - 0.05 * k,
            "lidar_points": {**info["lidar_points"], "lidar2sensor": rigid([0, 0.5 * k, 0], np.eye(3))},
        }
        for k in range(1, 5)
    ]
    return info


def test_every_condition_changes_the_real_frame_as_its_name_says(dataset: NuScenesFusionDataset) -> None:
    clean = Compose(PIPELINE)(entry(dataset))["inputs"]
    for condition in conditions(CAMERAS)[1:]:
        got = Compose(disturbed(PIPELINE, condition))(entry(dataset))["inputs"]
        same = {name for name in clean if clean[name].shape == got[name].shape and (clean[name] == got[name]).all()}
        expected = {
            "a camera missing": {"camera_mask", "images"},
            "cameras missing": {"camera_mask", "images"},
            "LiDAR missing": {"lidar_mask", "points"},
            "LiDAR limited": {"points"},
            "images": {"images"},
            "calibration": {"image_from_lidar"},
            "time": {"points"} if "LiDAR" in condition.name else {"image_from_lidar"},
        }[condition.group]
        assert clean.keys() - same == expected, condition.name


class FakeScorer:
    """Scores 1 over the number of a pipeline's steps."""

    dataset: Any

    def __init__(self, *args: Any) -> None: ...

    def score(self, name: str, pipeline: list[Any]) -> dict[str, float]:
        return {"NDS": 1 / len(pipeline), "mAP": 0.25}


def test_rows_and_files(dataset: NuScenesFusionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeScorer.dataset = dataset
    monkeypatch.setattr(robustness, "Scorer", FakeScorer)
    rows = measure_robustness(Config({"test_dataloader": {"dataset": {"pipeline": PIPELINE}}}), "none.pth", tmp_path)
    assert [row["name"] for row in rows] == [c.name for c in conditions(CAMERAS)]
    share = {row["name"]: row["share"] for row in rows}
    assert (
        share["everything"] == 1.0
        and share["without cameras"] == pytest.approx(4 / 5)
        and share["LiDAR with one sweep"] == 1.0
    )
    assert json.loads((tmp_path / "robustness.json").read_text()) == rows
    page = (tmp_path / "robustness.html").read_text()
    assert all(row["name"] in page for row in rows) and "http" not in page


def test_one_sensor_alone_has_its_own_conditions(
    dataset: NuScenesFusionDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeScorer.dataset = dataset
    monkeypatch.setattr(robustness, "Scorer", FakeScorer)
    for pipeline, word in (([LIDAR, dict(type=PackFrame)], "LiDAR"), ([*IMAGES, dict(type=PackFrame)], "camera|image")):
        config = Config({"test_dataloader": {"dataset": {"pipeline": pipeline}}})
        for row in measure_robustness(config, "none.pth", tmp_path)[1:]:
            assert any(part in row["name"] for part in word.split("|")) or row["name"].startswith("without CAM"), row
    with pytest.raises(ValueError, match="neither LoadSweeps nor LoadCameras"):
        disturbed([dict(type=PackFrame)], conditions(CAMERAS)[1])

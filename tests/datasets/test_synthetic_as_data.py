"""The synthetic world as the rest of the project sees it: a dataroot like any other."""

from pathlib import Path

import pytest
from nuscenes import NuScenes

from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.synthetic import VERSION
from perception.datasets.transforms import ImageAugment, LoadCameras, LoadSweeps, PackFrame


def test_the_stock_devkit_loads_it(tiny_synthetic: Path) -> None:
    nusc = NuScenes(VERSION, str(tiny_synthetic), verbose=False)
    assert len(nusc.scene) == 2 and len(nusc.sample) == 6
    assert all(Path(nusc.get_sample_data_path(row["token"])).is_file() for row in nusc.sample_data)


def test_its_samples_go_through_the_pipeline(tiny_synthetic: Path) -> None:
    pipeline = [
        {"type": LoadSweeps, "sweeps": 2},
        {"type": LoadCameras},
        {"type": ImageAugment, "size_hw": (64, 176)},
        {"type": PackFrame},
    ]
    dataset = NuScenesFusionDataset(str(tiny_synthetic / "nuscenes_infos_val.json"), pipeline, test_mode=True)
    assert len(dataset) == 3
    inputs = dataset[2]["inputs"]
    assert inputs["images"].shape == (6, 3, 64, 176) and inputs["camera_mask"].all()
    assert len(inputs["points"]) > 30_000
    assert inputs["points"][:, 4].unique().tolist() == pytest.approx([0.0, 0.05, 0.1], abs=1e-3)
    assert len(dataset[2]["data_samples"].eval_ann_info["gt_labels_3d"]) > 10

"""Every config builds; the full-size ones have the sensors that their names say."""

from pathlib import Path

import pytest

import perception.engine  # noqa: F401

# isort: split
from mmdet3d.datasets.dataset_wrappers import CBGSDataset
from mmdet3d.datasets.transforms import LoadAnnotations3D
from mmdet3d.registry import MODELS, TRANSFORMS

from perception.datasets.transforms import BEVAugment, GTPaste, LoadCameras, ModalityDropout
from perception.engine.fade import FadeGTPaste
from perception.engine.run import load_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


IN_3D = [path for path in sorted(CONFIGS.glob("*.py")) if not path.stem.startswith("trident_2d_")]


@pytest.mark.parametrize("path", IN_3D, ids=lambda p: p.stem)
def test_config_builds(path: Path) -> None:
    config = load_config(path)
    network = MODELS.build(config.model).network
    for dataloader in (config.train_dataloader, config.test_dataloader):
        dataset = dataloader.dataset
        for step in (dataset.get("dataset") or dataset).pipeline:
            TRANSFORMS.build(step)
    assert (network.lidar is not None) == (path.stem != "nuscenes_camera")
    assert (network.camera is not None) == (not path.stem.endswith("_lidar"))


@pytest.mark.parametrize("name", ["lidar", "camera", "fusion"])
def test_objects_are_pasted_where_there_are_no_cameras(name: str) -> None:
    """nuscenes_camera.py and nuscenes_fusion.py build on nuscenes_lidar.py and bring the cameras back."""
    config = load_config(CONFIGS / f"nuscenes_{name}.py")
    train_set, test_set = config.train_dataloader.dataset, config.test_dataloader.dataset
    train = [step["type"] for step in (train_set.get("dataset") or train_set).pipeline]
    test = [step["type"] for step in test_set.pipeline]
    cameras = name != "lidar"
    assert (LoadCameras in train) == (LoadCameras in test) == (ModalityDropout in train) == cameras
    assert (FadeGTPaste in [hook["type"] for hook in config.custom_hooks]) == (GTPaste in train) == (not cameras)
    if not cameras:
        assert train.index(LoadAnnotations3D) < train.index(GTPaste) < train.index(BEVAugment)
        assert train_set["type"] is CBGSDataset

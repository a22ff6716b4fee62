"""Every config builds; the full-size ones have the sensors that their names say."""

from importlib.util import find_spec
from pathlib import Path

import pytest

import perception.engine  # noqa: F401

# isort: split
from mmdet3d.datasets.dataset_wrappers import CBGSDataset
from mmdet3d.datasets.transforms import LoadAnnotations3D
from mmdet3d.registry import MODELS, TRANSFORMS

from perception.datasets.transforms import BEVAugment, GTPaste, LoadCameras, LoadSweeps, ModalityDropout
from perception.engine.fade import FadeGTPaste
from perception.engine.run import load_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


IN_3D = [path for path in sorted(CONFIGS.glob("*.py")) if not path.stem.startswith(("trident_2d_", "panoptic_"))]


@pytest.mark.parametrize("path", IN_3D, ids=lambda p: p.stem)
def test_config_builds(path: Path) -> None:
    if path.stem.endswith("_spconv") and find_spec("spconv") is None:
        pytest.skip("spconv is not installed: pip install spconv-cu120")
    config = load_config(path)
    network = MODELS.build(config.model).network
    for dataloader in (config.train_dataloader, config.test_dataloader):
        dataset = dataloader.dataset
        for step in (dataset.get("dataset") or dataset).pipeline:
            TRANSFORMS.build(step)
    assert (network.lidar is not None) == (not path.stem.endswith("_camera"))
    assert (network.camera is not None) == ("lidar" not in path.stem)


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


@pytest.mark.parametrize("name", ["demo_camera", "nuscenes_camera"])
def test_cameras_alone_are_taught_by_the_lidar_and_tested_without(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.py")
    train = [step["type"] for step in config.train_dataloader.dataset.pipeline]
    test = [step["type"] for step in config.test_dataloader.dataset.pipeline]
    assert LoadSweeps in train and LoadSweeps not in test
    camera = MODELS.build(config.model).network.camera
    assert camera.image_head is not None
    assert camera.image_head.ranges_px.log().equal(camera.lift.choice.log_edges)


def test_the_fused_config_is_on_the_lidars_grid() -> None:
    """nuscenes_camera.py has coarser cells of its own."""
    camera, fused = (load_config(CONFIGS / f"nuscenes_{name}.py").model for name in ("camera", "fusion"))
    cells = [tuple(model.network.camera.lift.grid.cell_m[:2]) for model in (camera, fused)]
    assert cells == [(0.8, 0.8), (0.3, 0.3)]
    assert camera.network.head.grid == camera.loss.grid == camera.network.camera.lift.grid
    assert fused.network.lidar.voxel_encoder.grid == fused.network.camera.lift.grid
    assert fused.network.head.grid == fused.loss.grid != fused.network.camera.lift.grid

"""Every config builds; the full-size ones have the sensors that their names say."""

from pathlib import Path

import pytest

import perception.engine  # noqa: F401

# isort: split
from mmdet3d.registry import MODELS, TRANSFORMS

from perception.engine.run import load_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda p: p.stem)
def test_config_builds(path: Path) -> None:
    config = load_config(path)
    network = MODELS.build(config.model).network
    for dataloader in (config.train_dataloader, config.test_dataloader):
        dataset = dataloader.dataset
        for step in (dataset.get("dataset") or dataset).pipeline:
            TRANSFORMS.build(step)
    assert (network.lidar is not None) == (path.stem != "nuscenes_camera")
    assert (network.camera is not None) == (path.stem != "nuscenes_lidar")

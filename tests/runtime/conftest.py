"""A small fused network as an artifact, and the program that runs it. Both take minutes to compile, so they are not
part of `make test`: `make test-runtime` builds the program and runs these tests."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIME = REPOSITORY / "build" / "runtime"
# The demo's network in small: images of 64 x 160, 1.6 m pillars, one block, narrow layers.
CONFIG = """
from mmengine.config import read_base

with read_base():
    from .configs.demo_fusion import *

grid.update(cell_m=(1.6, 1.6, 8.0))
image_hw = (64, 160)
network = model["network"]
model["loss"].update(grid=grid)
network["lidar"]["voxel_encoder"].update(grid=grid, channels=(16, 16))
network["lidar"]["backbone"].update(in_channels=16, channels=16, heads=2, hidden=32, blocks=1, grid=(1, 64, 64))
network["camera"]["backbone"].update(base_channels=8)
network["camera"]["neck"].update(in_channels=(16, 32), channels=16)
network["camera"]["lift"].update(in_channels=16, channels=8, grid=grid, depth_bins=13)
network["camera"]["semantic"].update(in_channels=16)
network["fuser"].update(in_channels=(16, 18), channels=16)
network["decoder"].update(in_channels=16, channels=(16, 16), layers=(1, 1), out_channels=16)
network["head"].update(in_channels=32, grid=grid, channels=16, candidates=60)
test_pipeline[1].update(min_hw=image_hw)
test_pipeline[2].update(size_hw=image_hw)
test_dataloader["dataset"].update(pipeline=test_pipeline)
"""


class Exported(NamedTuple):
    artifact: Path
    config: Path
    checkpoint: Path


@pytest.fixture(scope="session")
def program() -> Path:
    path = RUNTIME / "perception-run"
    if not path.is_file():
        pytest.skip(f"{path} is not built: run `make test-runtime`")
    return path


@pytest.fixture(scope="session")
def exported(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    import perception.engine  # noqa: F401  (mmdet3d imports on mmcv-lite after this)

    # isort: split
    from mmdet3d.registry import MODELS

    from perception.engine.export import export
    from perception.engine.run import load_config

    folder = tmp_path_factory.mktemp("exported")
    config, checkpoint = folder / "tiny_fusion.py", folder / "tiny.pth"
    # mmengine looks for what a config imports beside it.
    (folder / "configs").symlink_to(REPOSITORY / "configs")
    config.write_text(CONFIG)
    torch.manual_seed(0)
    model = MODELS.build(load_config(config).model).eval()
    with torch.no_grad():
        for heatmap in model.network.head.heatmaps:
            # Scores that spread from 0 to 1, as a trained network's do.
            heatmap.weight.normal_(0, 0.3)
    torch.save({"state_dict": model.state_dict()}, checkpoint)
    return Exported(export(config, checkpoint, folder / "artifact", max_points=120_000), config, checkpoint)

"""The demo's network in small, with seeded weights: checkpoint, artifact and frames of the synthetic world.

small_network.py FOLDER writes all of them, for `make replay`.
"""

import shutil
import sys
from pathlib import Path
from typing import Literal, NamedTuple

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
# Images of 64 x 160, 1.6 m pillars, one block, narrow layers.
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
network["fuser"].update(in_channels=dict(lidar=16, camera=18), channels=16)
network["decoder"].update(in_channels=16, channels=(16, 16), layers=(1, 1), out_channels=16)
network["second_stage"].update(in_channels=32, image_channels=16)
network["head"].update(in_channels=32, grid=grid, channels=16, candidates=60)
test_pipeline[1].update(min_hw=image_hw)
test_pipeline[2].update(size_hw=image_hw)
test_dataloader["dataset"].update(pipeline=test_pipeline)
"""


class Exported(NamedTuple):
    artifact: Path
    config: Path
    checkpoint: Path


def export_small_network(folder: Path, target: Literal["aoti", "onnx"] = "aoti") -> Exported:
    """Write configs, tiny_fusion.py, tiny.pth and artifact into a folder."""
    import perception.engine  # noqa: F401  (mmdet3d imports on mmcv-lite after this)

    # isort: split
    from mmdet3d.registry import MODELS

    from perception.engine.export import export
    from perception.engine.run import load_config

    config, checkpoint = folder / "tiny_fusion.py", folder / "tiny.pth"
    # mmengine looks for what a config imports beside it.
    (folder / "configs").symlink_to(REPOSITORY / "configs")
    config.write_text(CONFIG)
    torch.manual_seed(2)  # of which boxes come to metres
    model = MODELS.build(load_config(config).model).eval()
    head = model.network.head
    for module in model.modules():
        # Features that neither grow nor vanish from layer to layer; scores and boxes differ from place to place.
        if isinstance(module, torch.nn.Conv2d) and not any(module is conv for conv in head.boxes):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    for box in head.boxes:
        # Sizes of metres: what is compared is to a millimetre, and features are about 20.
        torch.nn.init.normal_(box.weight, std=0.003)
    for heatmap in head.heatmaps:
        # The last candidates score below what is counted, so that rounding does not decide which boxes there are.
        torch.nn.init.normal_(heatmap.weight, std=0.01)
        torch.nn.init.constant_(heatmap.bias, -4.0)
    # Zero until it is trained.
    stage = model.network.second_stage
    for layers in (stage.by_map, stage.images.layers):
        torch.nn.init.normal_(layers[-1].weight, std=0.002)
    torch.save({"state_dict": model.state_dict()}, checkpoint)
    artifact = export(config, checkpoint, folder / "artifact", max_points=120_000, target=target)
    return Exported(artifact, config, checkpoint)


def main(folder: Path) -> None:
    from perception.datasets.nuscenes_infos import create_info_files
    from perception.datasets.synthetic import VERSION, generate_dataroot

    shutil.rmtree(folder, ignore_errors=True)
    data = folder / "data"
    data.mkdir(parents=True)
    # As tests/conftest.py's tiny_synthetic, which the reference is of.
    generate_dataroot(data, train_scenes=1, val_scenes=1, keyframes_per_scene=3, seed=7, image_size=(320, 180))
    create_info_files(data, VERSION, out=data, progress=False)
    export_small_network(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Our LiDAR detectors against mmdet3d's own pillar CenterPoint: same harness, data, schedule and samples seen.

Theirs is the model of mmdet3d's centerpoint_pillar02_second_secfpn_nus.py, unchanged: pillars of 0.2 m, head at 0.8 m.
Ours are configs/demo_lidar.py (SST) and configs/demo_lidar_spconv.py, head at 0.8 m too. All train their dense
convolutions in bfloat16, where the processor has it (--float32: not), and everything before them and the losses in
float32; scores and frame times are float32's.

python tools/create_data.py synthetic --out data/synthetic        (or `make demo`, which makes it)
python benchmarks/peers/centerpoint.py [--data data/synthetic] [--epochs 5] [--lr 0.003 --their-lr 0.001]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training import add_arguments, lidar_config, print_table, train_and_score

# isort: split
import mmdet3d
import torch
from mmdet3d.models.backbones import SECOND
from mmdet3d.models.dense_heads import CenterHead
from mmdet3d.models.necks import SECONDFPN
from mmdet3d.registry import MODELS
from mmengine.config import Config
from torch import nn
from torch.utils._pytree import tree_map

from perception.engine.amp import has_fast_bfloat16

OURS = {"sst": "demo_lidar.py", "spconv": "demo_lidar_spconv.py"}
# mmdet3d's CenterHead takes its classes in the order of its tasks.
THEIR_CLASSES = (
    "car", "truck", "construction_vehicle", "bus", "trailer", "barrier", "motorcycle", "bicycle", "pedestrian",
    "traffic_cone",
)  # fmt: skip


class InBfloat16(nn.Module):
    """Trains a part of their network in bfloat16 and hands on float32: in bfloat16 the clip of their focal loss, at
    1 - 1e-4, would be at 1. Channels last is the memory format in which these convolutions are fastest."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Any) -> Any:
        device = next(self.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.training and has_fast_bfloat16(device)):
            out = super().forward(x)
        return tree_map(torch.Tensor.float, out)


@MODELS.register_module()
class Bfloat16SECOND(InBfloat16, SECOND):
    pass


@MODELS.register_module()
class Bfloat16SECONDFPN(InBfloat16, SECONDFPN):
    pass


@MODELS.register_module()
class Bfloat16CenterHead(InBfloat16, CenterHead):
    pass


def their_config(data: Path, epochs: int, lr: float, float32: bool) -> Any:
    """Our config with mmdet3d's model in place of ours."""
    config = lidar_config(data, epochs, lr)
    folder = Path(mmdet3d.__file__).parent / ".mim" / "configs" / "_base_" / "models"
    model = Config.fromfile(str(folder / "centerpoint_pillar02_second_secfpn_nus.py")).model
    extent = config.point_cloud_range
    model.data_preprocessor.voxel_layer.point_cloud_range = extent
    model.pts_voxel_encoder.point_cloud_range = extent
    model.pts_bbox_head.bbox_coder.pc_range = extent[:2]
    model.train_cfg.pts.point_cloud_range = extent
    if not float32:
        for part in (model.pts_backbone, model.pts_neck, model.pts_bbox_head):
            part.type = f"Bfloat16{part.type}"
    config.model = model
    for dataloader in (config.train_dataloader, config.test_dataloader):
        dataloader.dataset.metainfo = {"classes": THEIR_CLASSES}
    return config


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, "work_dirs/peers", epochs=5)
    parser.add_argument("--their-lr", type=float, default=1e-3, help="theirs; 1e-3 is mmdet3d's (default: %(default)s)")
    parser.add_argument("--float32", action="store_true", help="train the dense convolutions in float32 too")
    names = (*OURS, "centerpoint")
    parser.add_argument("--only", nargs="+", choices=names, default=["sst", "centerpoint"], help="which to run")
    args = parser.parse_args()
    rows = []
    for name in args.only:
        try:
            if name == "centerpoint":
                config = their_config(args.data, args.epochs, args.their_lr, args.float32)
            else:
                config = lidar_config(args.data, args.epochs, args.lr, OURS[name], args.float32)
        except FileNotFoundError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        rows.append(train_and_score(name, config, args.work_dir, args.resume))
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

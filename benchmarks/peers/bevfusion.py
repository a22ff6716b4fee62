"""The demo's fused detector against a plain BEVFusion-style model: same harness, data, schedule and samples seen.

Plain means what BEVFusion (Liu et al., ICRA 2023) has: sparse 3D convolutions on the LiDAR's voxels, a ResNet of one
branch on the images, Lift-Splat with LiDAR points to guide depth, the two maps concatenated and mixed by a 3x3
convolution. Decoder, head, losses, augmentation and image size are the demo's in both; needs spconv (extra [spconv]).

python tools/create_data.py synthetic --out data/synthetic        (or `make demo`, which makes it)
python benchmarks/peers/bevfusion.py [--data data/synthetic] [--epochs 7]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training import ROOT, add_arguments, lidar_config, print_table, train_and_score

# isort: split
import torch
from torch import Tensor, nn

from perception.engine.run import load_config
from perception.fusion.decoder import conv_norm_relu


class PlainFuser(nn.Module):
    """BEVFusion's: the maps side by side through one convolution."""

    def __init__(self, in_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.mix = conv_norm_relu(sum(in_channels), channels)

    def forward(self, maps: list[Tensor], present: list[Tensor]) -> Tensor:
        return self.mix(torch.cat([m * p[:, None, None, None] for m, p in zip(maps, present, strict=True)], dim=1))


def ours(config: Any) -> None:
    """The demo as it is."""


def plain(config: Any) -> None:
    network = config.model.network
    camera = network.camera
    camera.backbone.dilations = (1,)
    camera.lift.scale_aware = False
    camera.lift.valid_ranges_px = ((0.0, 1e8),)
    camera.semantic = None
    network.lidar = load_config(ROOT / "configs" / "demo_lidar_spconv.py").model.network.lidar
    lidar_channels = 128  # two heights of 64 channels
    network.fuser = dict(
        type=PlainFuser, in_channels=(lidar_channels, camera.lift.channels), channels=network.fuser.channels
    )


MODELS = {"ours": ours, "plain": plain}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, "work_dirs/peers_fused", epochs=7)
    parser.add_argument("--only", nargs="+", choices=tuple(MODELS), default=list(MODELS), help="which to run")
    args = parser.parse_args()
    rows = []
    for name in args.only:
        try:
            config = lidar_config(args.data, args.epochs, args.lr, "demo_fusion.py", float32=False)
        except FileNotFoundError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        MODELS[name](config)
        rows.append(train_and_score(name, config, args.work_dir, args.resume))
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

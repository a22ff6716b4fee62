"""The LiDAR branch end to end on a real key frame at full size, against the official arrangement with dense tail.

Points -> pillars of 0.3 m over +-54 m -> six SST blocks -> dense map [1,128,360,360]; forward, float32, eval mode.
Ours: ragged windows; no tail, as configs/nuscenes_lidar.py has it, and the same tail with norms folded. The other:
region batching (region_batching.py), then the official config's three dense 3x3 convolutions (dilations 1, 1, 2) with
norm, ReLU and shortcut, one after the other. Both use our voxel encoder, which flatters the other. Floor: the dense
matrix products of the blocks, measured, and one write and two reads of the map at this machine's copy bandwidth.

python benchmarks/bench_lidar_branch.py [--root ../shared/nuscenes-one-frame]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from bench_sst_blocks import DEFAULT_ROOT, products
from region_batching import PaddedSST
from timing import compare, copy_bandwidth, median_ms
from torch import Tensor, nn

from perception.geometry.grid import BEVGrid
from perception.lidar.branch import LidarBranch
from perception.lidar.sst import SST
from perception.lidar.voxel_encoder import VoxelEncoder
from perception.ops.sparse_to_bev import sparse_to_bev

GRID = BEVGrid((-54.0, 54.0), (-54.0, 54.0), (-5.0, 3.0), (0.3, 0.3, 8.0))
TAILS = {"none": (), "dense 1, 1, 2": (1, 1, 2)}


def key_sweep(root: Path) -> Tensor:
    """[P,5] float32: x y z (m, LiDAR frame), intensity, age 0, of the first sweep inside the range."""
    files = sorted((root / "samples" / "LIDAR_TOP").glob("*.pcd.bin"))
    if not files:
        sys.exit(f"no LiDAR sweep in {root}/samples/LIDAR_TOP: name a nuScenes dataroot with --root")
    points = torch.from_numpy(np.fromfile(files[0], dtype=np.float32).reshape(-1, 5).copy())
    points[:, 4] = 0.0
    return points[(points[:, :2].abs() < 54.0).all(dim=1) & (points[:, 2] > -5.0) & (points[:, 2] < 3.0)]


class OfficialArrangement(nn.Module):
    """Region batching, the dense map, and unfused attached convolutions, with the weights of ours."""

    def __init__(self, encoder: VoxelEncoder, sst: SST) -> None:
        super().__init__()
        self.encoder, self.sst, self.padded = encoder, sst, PaddedSST(sst)

    def forward(self, points: Tensor, point_batch: Tensor) -> Tensor:
        tokens, coords = self.encoder(points, point_batch, 1)
        return self.tail(sparse_to_bev(self.padded(tokens, coords), coords, 1, self.sst.grid))

    def tail(self, bev: Tensor) -> Tensor:
        for conv in self.sst.conv_layer:
            bev = bev + nn.Sequential.forward(conv, bev)
        return bev


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="nuScenes dataroot (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=10, help="runs of each (default: %(default)s)")
    args = parser.parse_args()
    torch.manual_seed(0)
    points = key_sweep(args.root)
    batch = torch.zeros(len(points), dtype=torch.int64)
    encoder = VoxelEncoder(GRID, channels=(64, 128)).eval()
    nets = {
        name: SST(128, grid=GRID.shape, window=(1, 12, 12), conv_dilations=tail).eval() for name, tail in TAILS.items()
    }
    official = OfficialArrangement(encoder, nets["dense 1, 1, 2"]).eval()
    with torch.no_grad():
        tokens, coords = encoder(points, batch, 1)
        bev = sparse_to_bev(tokens, coords, 1, GRID.shape)
        traffic_ms = 3e3 * bev.numel() * 4 / copy_bandwidth()
        floor_ms = median_ms(lambda: products(nets["none"], tokens)) + traffic_ms
        same = LidarBranch(encoder, nets["dense 1, 1, 2"]).eval()
        difference = float((same(points, batch, 1) - official(points, batch)).abs().max())
        if difference > 1e-3:
            raise RuntimeError(f"outputs differ by {difference}")
        for name, net in nets.items():
            ours = LidarBranch(encoder, net).eval()
            compare(
                f"lidar_branch, tail {name} ({len(points)} points, {len(tokens)} pillars)",
                lambda ours=ours: ours(points, batch, 1),
                lambda: official(points, batch),
                "official arrangement",
                floor_ms,
                args.repeats,
            )
        compare(
            "tail alone, dense 1, 1, 2",
            lambda: nets["dense 1, 1, 2"].attach(bev),
            lambda: official.tail(bev),
            "unfused",
            traffic_ms,
            args.repeats,
        )


if __name__ == "__main__":
    main()

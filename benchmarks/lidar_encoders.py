"""What the two LiDAR encoders cost at full size, on the key sweep of a real key frame.

The branches of nuscenes_lidar.py (SST) and nuscenes_lidar_spconv.py, alone, in float32; their runs alternate. Beside
the wall time stands the processor's time, summed over threads, which a busy machine disturbs less.

python benchmarks/lidar_encoders.py [--root ../shared/nuscenes-one-frame]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from bench_lidar_branch import key_sweep
from bench_sst_blocks import DEFAULT_ROOT
from timing import seconds
from torch import Tensor

from perception.engine.convert_sst import lidar_branch
from perception.lidar.branch import LidarBranch

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NAMES = {"sst": "nuscenes_lidar.py", "spconv": "nuscenes_lidar_spconv.py"}


def facts(name: str, branch: LidarBranch, points: Tensor, point_batch: Tensor) -> dict[str, object]:
    with torch.no_grad():
        coords = branch.voxel_encoder(points, point_batch, 1)[1]
        bev = branch(points, point_batch, 1)
    return {
        "name": name,
        "points": len(points),
        "voxels": len(coords),
        "map": "x".join(map(str, bev.shape[1:])),
        "occupied": round((bev != 0).any(dim=1).float().mean().item(), 3),
        "parameters_m": round(sum(p.numel() for p in branch.parameters()) / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="nuScenes dataroot (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=10, help="runs of each (default: %(default)s)")
    args = parser.parse_args()
    torch.manual_seed(0)
    points = key_sweep(args.root)
    point_batch = torch.zeros(len(points), dtype=torch.int64)
    branches = {name: lidar_branch(CONFIGS / config).eval() for name, config in NAMES.items()}
    lines = {name: facts(name, branch, points, point_batch) for name, branch in branches.items()}

    def infer(branch: LidarBranch) -> None:
        with torch.no_grad():
            branch.eval()(points, point_batch, 1)

    def train(branch: LidarBranch) -> None:
        branch.train()(points, point_batch, 1).square().mean().backward()

    for key, work in (("inference", infer), ("training", train)):
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in branches}
        for turn in range(args.repeats + 1):
            for name, branch in branches.items():
                start = time.process_time()
                wall = seconds(lambda work=work, branch=branch: work(branch))
                if turn > 0:  # the first warms up
                    times[name].append((wall, time.process_time() - start))
        for name, taken in times.items():
            for unit, column in zip(("ms", "cpu_ms"), zip(*taken, strict=True), strict=True):
                lines[name][f"{key}_{unit}"] = round(1e3 * statistics.median(column), 1)
    for line in lines.values():
        print(json.dumps({**line, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()

"""SST's six blocks on the pillars of a real key frame, against the padded region batching of the SST paper.

Both run the whole frame: grouping, positions, twelve encoder layers; forward, float32, same weights, equal outputs.
The official code lets MultiheadAttention return its weights; the second line has it use torch's fused attention.
Floor: the dense matrix products alone, measured. The last line is growth: ten frames at once over one.

python benchmarks/bench_sst_blocks.py [--root ../shared/nuscenes-one-frame]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from region_batching import PaddedSST
from timing import compare, median_ms, seconds
from torch import Tensor
from torch.nn import functional as F

from perception.lidar.sst import SST
from perception.ops.voxelize import voxelize

DEFAULT_ROOT = Path(__file__).resolve().parents[1] / "../shared/nuscenes-one-frame"
RANGE_M, PILLAR_M, GRID = 51.2, 0.32, 320


def pillars(root: Path) -> Tensor:
    """[V,4] int32 (b,z,y,x): the occupied pillars of the first sweep under a nuScenes dataroot."""
    files = sorted((root / "samples" / "LIDAR_TOP").glob("*.pcd.bin"))
    if not files:
        sys.exit(f"no LiDAR sweep in {root}/samples/LIDAR_TOP: name a nuScenes dataroot with --root")
    points = torch.from_numpy(np.fromfile(files[0], dtype=np.float32).reshape(-1, 5)[:, :3].copy())
    batch = torch.zeros(len(points), dtype=torch.int64)
    low = (-RANGE_M, -RANGE_M, -5.0)
    return voxelize(points, batch, 1, low, (PILLAR_M, PILLAR_M, 8.0), (1, GRID, GRID)).coords


def products(sst: SST, tokens: Tensor) -> None:
    """Only the matrix products of the blocks, on inputs of the right size."""
    hidden = tokens.new_empty(len(tokens), sst.block_list[0].encoder_list[0].linear1.out_features)
    for block in sst.block_list:
        for layer in block.encoder_list:
            attention = layer.win_attn.self_attn
            w_qk, w_v = attention.in_proj_weight.split((2 * sst.channels, sst.channels))
            for weight in (w_qk, w_v, attention.out_proj.weight, layer.linear1.weight):
                F.linear(tokens, weight)
            F.linear(hidden, layer.linear2.weight)


def growth(sst: SST, tokens: Tensor, coords: Tensor, times: int, repeats: int = 10) -> None:
    """Prints how the time grows when `times` copies of the frame are one batch."""
    batch = torch.arange(times, dtype=torch.int32).repeat_interleave(len(coords))
    many = coords.repeat(times, 1)
    many[:, 0] = batch
    works = lambda: sst.encode(tokens, coords, 1), lambda: sst.encode(tokens.repeat(times, 1), many, times)
    for work in works:
        work()
    rounds = [[seconds(work) for work in works] for _ in range(repeats)]
    one_ms, many_ms = (1e3 * statistics.median(column) for column in zip(*rounds, strict=True))
    line = {
        "name": f"sst_blocks growth ({len(many)} tokens over {len(coords)})",
        "ours_ms": round(many_ms, 4),
        "one_frame_ms": round(one_ms, 4),
        "growth": round(many_ms / one_ms, 2),
        "threads": torch.get_num_threads(),
        "device": "cpu",
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="nuScenes dataroot (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="runs of each (default: %(default)s)")
    args = parser.parse_args()
    torch.manual_seed(0)
    coords = pillars(args.root)
    sst = SST(128, grid=(1, GRID, GRID), conv_dilations=()).eval()
    tokens = torch.randn(len(coords), 128)
    with torch.no_grad():
        floor_ms = median_ms(lambda: products(sst, tokens))
        for need_weights, name in (
            (True, "padded region batching"),
            (False, "padded region batching, fused attention"),
        ):
            padded = PaddedSST(sst, need_weights).eval()
            difference = float((sst.encode(tokens, coords, 1) - padded(tokens, coords)).abs().max())
            if difference > 1e-4:
                raise RuntimeError(f"outputs differ by {difference}")
            compare(
                f"sst_blocks ({len(coords)} tokens)",
                lambda: sst.encode(tokens, coords, 1),
                lambda padded=padded: padded(tokens, coords),
                name,
                floor_ms,
                args.repeats,
            )
        growth(sst, tokens, coords, 10)


if __name__ == "__main__":
    main()

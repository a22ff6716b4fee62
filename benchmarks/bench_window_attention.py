"""Window attention on pillars of one LiDAR frame, forward and backward, against padded batches per level (SST's region
batching) with torch's fused attention; then its growth from 5,000 to 50,000 tokens of one density.

Floor: the two products of attention (five backward) over every window's own tokens, at `compute_rate`.
"""

from __future__ import annotations

import json
import statistics

import torch
from gpu_cases import padded_attention, region_batches, scene_tokens
from timing import compare, compute_rate, seconds
from torch import Tensor

from perception.ops.window_attention import window_attention
from perception.ops.window_partition import WindowPartition, window_partition

GRID, HEADS, WIDTH = 320, 8, 16
SCALE = WIDTH**-0.5


def windows(coords: Tensor, grid: int) -> WindowPartition:
    return window_partition(coords, 1, (1, grid, grid), (1, 12, 12))[0]


def projections(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """q and k as a network has them, views of one packed projection; and v. [T,heads,D] each."""
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(tokens, 2, HEADS, WIDTH, generator=generator).unbind(1)
    return q, k, torch.randn(tokens, HEADS, WIDTH, generator=generator)


def growth(repeats: int = 20) -> None:
    """Prints time at 50,000 tokens over time at 5,000: the grid has ten times as many cells, filled as densely."""
    works = []
    for tokens, grid in ((5_000, 253), (50_000, 800)):
        chosen = torch.randperm(grid * grid, generator=torch.Generator().manual_seed(0))[:tokens].sort().values
        zero = torch.zeros_like(chosen)
        partition = windows(torch.stack((zero, zero, chosen // grid, chosen % grid), dim=1).int(), grid)
        q, k, v = projections(tokens)
        works.append(lambda q=q, k=k, v=v, p=partition: window_attention(q, k, v, p.order, p.offsets, SCALE))
    for work in works:
        work()
    rounds = [[seconds(work) for work in works] for _ in range(repeats)]
    small_ms, large_ms = (1e3 * statistics.median(column) for column in zip(*rounds, strict=True))
    line = {
        "name": "window_attention growth (50,000 tokens over 5,000)",
        "ours_ms": round(large_ms, 4),
        "small_ms": round(small_ms, 4),
        "growth": round(large_ms / small_ms, 2),
        "threads": torch.get_num_threads(),
        "device": "cpu",
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    rate = compute_rate()
    coords = scene_tokens(5_242, GRID, "cpu")
    order, offsets, _ = windows(coords, GRID)
    q, k, v = projections(len(coords))
    grad = torch.randn(v.shape, generator=torch.Generator().manual_seed(1))
    batches = region_batches(order, offsets)
    pairs = float((offsets.diff().double() ** 2).sum())
    floor_ms = 1e3 * 4 * pairs * HEADS * WIDTH / rate

    def ours() -> Tensor:
        return window_attention(q, k, v, order, offsets, SCALE)

    def padded() -> Tensor:
        return padded_attention(q, k, v, batches, SCALE)

    with torch.no_grad():
        if not torch.allclose(ours(), padded(), atol=1e-5):
            raise RuntimeError("padded attention gives another result")
        compare("window_attention (5242 tokens)", ours, padded, "padded SDPA", floor_ms)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    compare(
        "window_attention, forward and backward (5242 tokens)",
        lambda: torch.autograd.grad(ours(), leaves, grad),
        lambda: torch.autograd.grad(padded(), leaves, grad),
        "padded SDPA",
        3.5 * floor_ms,
    )
    growth()


if __name__ == "__main__":
    main()

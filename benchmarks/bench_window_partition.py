"""Both of SST's window partitions of a frame's pillars, against torch.unique doing the whole job twice.

The whole job: tokens in window order, offsets, position of each token in its window; unshifted and shifted. A nuScenes
key frame has 5,242 pillars, ten sweeps about 20,000. Floor: inputs and outputs at copy bandwidth.
"""

from __future__ import annotations

import torch
from gpu_cases import scene_tokens
from timing import bytes_of, compare, copy_bandwidth
from torch import Tensor

from perception.ops.window_partition import WindowPartition, window_partition

GRID, WINDOW = 320, 12


def by_unique(coords: Tensor) -> tuple[WindowPartition, ...]:
    """torch.unique of window numbers, a stable sort by window, and the counts' running sum."""
    across = GRID // WINDOW + 2
    partitions = []
    for shift in (WINDOW, WINDOW // 2):
        moved = coords[:, 2:] + shift
        window = torch.div(moved, WINDOW, rounding_mode="floor")
        flat = (coords[:, 0] * across + window[:, 0]).long() * across + window[:, 1]
        _, inverse, counts = torch.unique(flat, return_inverse=True, return_counts=True)
        position = torch.cat((coords[:, 1:2], moved - WINDOW * window), dim=1)
        offsets = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
        partitions.append(WindowPartition(torch.argsort(inverse, stable=True), offsets, position))
    return tuple(partitions)


def main() -> None:
    bandwidth = copy_bandwidth()
    for tokens in (5_242, 20_000):
        coords = scene_tokens(tokens, GRID, "cpu")

        def ours(coords: Tensor = coords) -> tuple[WindowPartition, ...]:
            return window_partition(coords, 1, (1, GRID, GRID), (1, WINDOW, WINDOW))

        for mine, theirs in zip(ours(), by_unique(coords), strict=True):
            occupied = mine._replace(offsets=mine.offsets[: len(theirs.offsets)])
            if not all(torch.equal(a, b) for a, b in zip(occupied, theirs, strict=True)):
                raise RuntimeError("torch.unique gives other windows")
        floor_ms = 1e3 * bytes_of(coords, *(part for partition in ours() for part in partition)) / bandwidth
        name = f"window_partition ({tokens} tokens)"
        compare(name, ours, lambda coords=coords: by_unique(coords), "torch.unique", floor_ms)


if __name__ == "__main__":
    main()

"""20,000 pillars of 128 channels into a dense map of 320 x 320 cells, against index_copy and a transposition.

Floor: the tokens read and the map written once at copy bandwidth.
"""

from __future__ import annotations

import torch
from gpu_cases import scene_tokens
from timing import bytes_of, compare, copy_bandwidth
from torch import Tensor

from perception.ops.sparse_to_bev import sparse_to_bev

TOKENS, CHANNELS, GRID = 20_000, 128, 320


def main() -> None:
    coords = scene_tokens(TOKENS, GRID, "cpu")
    features = torch.randn(TOKENS, CHANNELS, generator=torch.Generator().manual_seed(0))

    def ours() -> Tensor:
        return sparse_to_bev(features, coords, 1, (1, GRID, GRID))

    def copy_rows() -> Tensor:
        flat = coords[:, 2].long() * GRID + coords[:, 3]
        dense = features.new_zeros(GRID * GRID, CHANNELS).index_copy_(0, flat, features)
        return dense.T.contiguous().view(1, CHANNELS, GRID, GRID)

    def copy_columns() -> Tensor:
        flat = coords[:, 2].long() * GRID + coords[:, 3]
        dense = features.new_zeros(CHANNELS, GRID * GRID)
        dense[:, flat] = features.T
        return dense.view(1, CHANNELS, GRID, GRID)

    floor_ms = 1e3 * (bytes_of(features, coords) + bytes_of(ours())) / copy_bandwidth()
    for other, name in ((copy_rows, "index_copy + transpose"), (copy_columns, "indexed columns")):
        if not torch.equal(ours(), other()):
            raise RuntimeError(f"{name} gives another map")
        compare("sparse_to_bev", ours, other, name, floor_ms)


if __name__ == "__main__":
    main()

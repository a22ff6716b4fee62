"""Both of SST's window partitions of the occupied cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class WindowPartition(NamedTuple):
    """Tokens grouped by window.

    Attributes:
        order: [V] int64, tokens ordered by window, ascending inside one.
        offsets: [W+1] int64; order[offsets[w]:offsets[w + 1]] are the tokens of window w. W is the number of tokens or
            of the grid's windows, whichever is less, whatever the data: the windows that hold a token come first, in
            the grid's order; those that are left over are empty.
        position: [V,3] int32 (z, y, x) of each token inside its window, in the tokens' own order.
    """

    order: Tensor
    offsets: Tensor
    position: Tensor


def window_partition(
    coords: Tensor,  # [V,4] int32 (b, z, y, x)
    batch_size: int,
    grid: tuple[int, int, int],  # Z Y X
    window: tuple[int, int, int],  # z y x
) -> tuple[WindowPartition, WindowPartition]:
    """The unshifted and the shifted partition (SST, section 3.2; SSTv2's shifts).

    A token's window is floor((coordinate + shift) / window), with a shift of one whole window in the first partition
    and of half a window (window // 2) in the second. A window as tall as the grid is not shifted along z. The position
    inside the window is (coordinate + shift) mod window.

    Nothing waits for the GPU: there, coords outside the grid are no error. Such a token lands in no window: it comes
    last in the order, past the last offset, and its position is 0.

    Raises:
        ValueError: coords are not [V,4] int32, a size is not positive, or (on the CPU) coords outside the grid, with
            their count.
    """
    if coords.ndim != 2 or coords.shape[1] != 4 or coords.dtype != torch.int32:
        raise ValueError(f"coords must be [V,4] int32, got {tuple(coords.shape)} {coords.dtype}")
    if min(window) < 1 or min(grid) < 1 or batch_size < 0:
        raise ValueError(f"window {window}, grid {grid} (z, y, x) and batch_size {batch_size} must be positive")
    order, offsets, position, *shifted = torch.ops.perception.window_partition(
        coords, batch_size, list(grid), list(window)
    )
    return WindowPartition(order, offsets, position), WindowPartition(*shifted)


@torch.library.register_fake("perception::window_partition")
def _window_partition_fake(
    coords: Tensor, batch_size: int, grid: Sequence[int], window: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    tokens = coords.shape[0]

    def partition(shifted: bool) -> tuple[Tensor, Tensor, Tensor]:
        windows = batch_size
        for axis, (cells, size) in enumerate(zip(grid, window, strict=True)):
            fixed = axis == 0 and size >= cells
            shift = 0 if fixed else size // 2 if shifted else size
            windows *= (cells - 1 + shift) // size + 1
        order = coords.new_empty(tokens, dtype=torch.int64)
        offsets = order.new_empty(torch.sym_min(tokens, windows) + 1)
        return order, offsets, coords.new_empty((tokens, 3))

    return (*partition(False), *partition(True))

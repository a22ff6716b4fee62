"""Both of SST's window partitions of the occupied cells."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class WindowPartition(NamedTuple):
    """Tokens grouped by window.

    Attributes:
        order: [V] int64, tokens ordered by window, ascending inside one.
        offsets: [W+1] int64; order[offsets[w]:offsets[w + 1]] are the tokens of window w. Only occupied windows count.
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
    and of half a window in the second. A window as tall as the grid is not shifted along z.

    Raises:
        ValueError: a window is empty.
    """
    if min(window) < 1:
        raise ValueError(f"window sizes must be positive, got {window} (z, y, x)")
    return _partition(coords, grid, window, False), _partition(coords, grid, window, True)


def _partition(
    coords: Tensor, grid: tuple[int, int, int], window: tuple[int, int, int], shifted: bool
) -> WindowPartition:
    shift = [w // 2 if shifted else w for w in window]
    if window[0] >= grid[0]:
        shift[0] = 0
    size = coords.new_tensor(window)
    moved = coords[:, 1:] + coords.new_tensor(shift)
    index = torch.div(moved, size, rounding_mode="floor").long()
    windows = [-(-g // w) + 1 for g, w in zip(grid, window, strict=True)]
    z, y, x = index.unbind(1)
    key = ((coords[:, 0].long() * (windows[0] + 1) + z) * (windows[1] + 1) + y) * (windows[2] + 1) + x
    order = torch.argsort(key, stable=True)
    _, counts = torch.unique(key, sorted=True, return_counts=True)
    offsets = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
    return WindowPartition(order, offsets, (moved % size).int())

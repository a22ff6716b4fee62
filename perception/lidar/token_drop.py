"""SST's token dropping: a window keeps at most as many tokens as its level allows (Fan et al., CVPR 2022, section 3.3).

The paper pads windows to the size of their level and drops the tokens that do not fit (tusen-ai/SST, SSTInputLayerV2).
Attention here needs no padding, so nothing has to be dropped; this is for training as the paper did. The levels are
those of the official configs' `drop_info`, and the same tokens survive for the same random order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from perception.ops.window_partition import WindowPartition, window_partition


class DropLevel(TypedDict):
    """Windows of drop_range[0] <= tokens < drop_range[1] keep at most max_tokens of them."""

    max_tokens: int
    drop_range: tuple[int, int]


@dataclass(frozen=True)
class TokenDrop:
    """The levels of training and of inference, each by ascending range; the last range has no upper end.

    The official Waymo levels, which drop nothing at inference for windows of 144 pillars:

        training: 30 tokens for (0, 30), 60 for (30, 60), 100 for (60, 100000)
        test: 30 for (0, 30), 60 for (30, 60), 100 for (60, 100), 144 for (100, 100000)

    Raises ValueError when there is no level, a level keeps no token, or ranges do not follow each other from 0 or 1.
    """

    training: Sequence[DropLevel]
    test: Sequence[DropLevel]

    def __post_init__(self) -> None:
        for name, levels in (("training", self.training), ("test", self.test)):
            if not levels:
                raise ValueError(f"{name} needs at least one drop level")
            end = min(1, levels[0]["drop_range"][0])
            for level in levels:
                lower, upper = level["drop_range"]
                if level["max_tokens"] < 1 or lower != end or upper <= lower:
                    raise ValueError(
                        f"drop levels of {name} must keep at least one token each and their ranges must follow each "
                        f"other from 0 without a gap, got {[dict(each) for each in levels]}"
                    )
                end = upper

    def drops(self, training: bool, window_cells: int) -> bool:
        """Whether windows of that many cells can lose a token at all."""
        levels = self.training if training else self.test
        uppers = [level["drop_range"][1] - 1 for level in levels[:-1]] + [window_cells]
        return any(level["max_tokens"] < min(most, window_cells) for level, most in zip(levels, uppers, strict=True))

    def survivors(
        self,
        coords: Tensor,  # [V,4] int32 (b, z, y, x)
        batch_size: int,
        grid: tuple[int, int, int],  # Z Y X
        window: tuple[int, int, int],  # z y x
        training: bool,
        order: Tensor | None = None,  # [V] float32, for each token its place in the random order; drawn when None
    ) -> Tensor:  # [K] int64
        """Tokens that fit into their windows of both partitions, ascending.

        The unshifted partition drops first; levels of the shifted one count what is left. Of a window that is too full
        the tokens that come first in a random order stay, the same order in both partitions. The number of
        survivors is the one thing that the device is waited for.
        """
        levels = self.training if training else self.test
        if order is None:
            order = torch.rand(coords.shape[0], device=coords.device)
        keep = torch.ones_like(order, dtype=torch.bool)
        for partition in window_partition(coords, batch_size, grid, window):
            keep = _fitting(partition, keep, order, levels)
        return keep.nonzero().flatten()


def _fitting(partition: WindowPartition, keep: Tensor, order: Tensor, levels: Sequence[DropLevel]) -> Tensor:
    """Those of the kept tokens [V] bool that fit into their window."""
    by_window, offsets = partition.order, partition.offsets
    slots = torch.arange(keep.shape[0], device=keep.device)
    window = torch.searchsorted(offsets, slots, right=True) - 1  # of each place in by_window
    # By window, inside of one the kept tokens in the random order, then those that were dropped before.
    kept = keep[by_window]
    shuffled = torch.argsort(order[by_window].masked_fill(~kept, torch.inf))
    shuffled = shuffled[torch.argsort(window[shuffled], stable=True)]
    count = torch.zeros_like(offsets).index_add_(0, window, kept.long())
    starts = torch.tensor([level["drop_range"][0] for level in levels[1:]], device=keep.device)
    sizes = torch.tensor([level["max_tokens"] for level in levels], device=keep.device)
    limit = sizes[torch.bucketize(count, starts, right=True)].minimum(count)
    fits = slots - offsets[window] < limit[window]
    return torch.empty_like(keep).index_put_((by_window[shuffled],), fits)

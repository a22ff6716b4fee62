"""Windows padded to a few fixed sizes, and attention over them in nothing but dense products.

The kernel takes windows as they are (perception/ops/window_attention.py); runtimes that know only standard operators
need rectangles. A window goes to the smallest bucket that holds it; a window's cells are the most tokens that it can
have, so that none is dropped. SST pads the same way (Fan et al., CVPR 2022, section 3.3, "regional grouping").
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.ops.window_partition import WindowPartition

HIDDEN = -1e30  # logit of a place without a token: its weight is exactly zero beside any token's


class PaddedWindows(NamedTuple):
    """Tokens of one partition in rectangles.

    Attributes:
        buckets: [W_i,S_i] int64 of every bucket: the tokens of each window, -1 where there is none. A bucket without a
            window has one of nothing, so that no size is zero.
        slot: [V] int64, the place of each token in the buckets laid one after the other.
        position: [V,3] int32 (z, y, x) of each token inside its window.
    """

    buckets: tuple[Tensor, ...]
    slot: Tensor
    position: Tensor


def bucket_sizes(window: tuple[int, int, int]) -> tuple[int, ...]:
    """Tokens that the windows of each bucket hold: an eighth, a third and all of a window's cells (z, y, x)."""
    cells = math.prod(window)
    return tuple(sorted({-(-cells // 8), -(-cells // 3), cells}))


def pad_windows(partition: WindowPartition, sizes: tuple[int, ...]) -> PaddedWindows:
    """The windows of a partition in buckets of ascending `sizes`; windows with more tokens than the last do not exist
    (`bucket_sizes`)."""
    order, offsets, position = partition
    count = offsets.diff()
    slot = torch.full_like(order, -1)
    buckets, start, smaller = [], 0, 0
    for size in sizes:
        first = offsets[:-1][(count > smaller) & (count <= size)]
        held = count[(count > smaller) & (count <= size)]
        place = torch.arange(size, device=order.device)
        there = place < held[:, None]
        tokens = torch.full(there.shape, -1, dtype=torch.int64, device=order.device)
        tokens[there] = order[(first[:, None] + place)[there]]
        slot[tokens[there]] = start + there.flatten().nonzero().flatten()
        buckets.append(tokens if len(tokens) else tokens.new_full((1, size), -1))
        start, smaller = start + buckets[-1].numel(), size
    return PaddedWindows(tuple(buckets), slot, position)


def padded_window_attention(
    q: Tensor,  # [V,heads,D]
    k: Tensor,  # [V,heads,D]
    v: Tensor,  # [V,heads,D]
    windows: PaddedWindows,
    scale: float,
    temperature: Tensor | None = None,  # [heads]
) -> Tensor:  # [V,heads,D]
    """What `window_attention` computes, bucket by bucket."""
    if temperature is not None:
        q, k, scale = F.normalize(q, dim=-1) / temperature[:, None], F.normalize(k, dim=-1), 1.0
    q, k, v = (F.pad(t, (0, 0, 0, 0, 0, 1)) for t in (q, k, v))  # row -1 is of nothing
    rows = []
    for tokens in windows.buckets:
        # [W,S,heads,D] -> [W,heads,S,D]
        queries, keys, values = (t[tokens].transpose(1, 2) for t in (q, k, v))
        logits = (queries @ keys.transpose(2, 3) * scale).masked_fill((tokens < 0)[:, None, None], HIDDEN)
        attended = logits.softmax(dim=-1) @ values
        rows.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(rows)[windows.slot]

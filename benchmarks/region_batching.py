"""The padded region batching of the SST paper, in plain torch: what bench_sst_blocks.py compares against.

Windows are put into levels by their number of tokens; tokens are scattered into zeros [windows, level, C], attended to
by nn.MultiheadAttention under a key padding mask and gathered back. What it computes once per frame: levels, slots,
masks and padded positions of both partitions. Weights are those of a perception.lidar.sst.SST.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.lidar.sst import SST, EncoderLayer, sine_position

LEVELS = (30, 60, 100, 144)  # most tokens of a window, padded to that many


@dataclass(frozen=True)
class Level:
    """The windows of one level."""

    tokens: Tensor  # [n] which tokens they hold
    slots: Tensor  # [n] where each goes in [windows * size]
    windows: int
    size: int
    padding: Tensor  # [windows,size] bool, true where no token is
    position: Tensor  # [windows,size,C]

    def pad(self, x: Tensor) -> Tensor:  # [V,C] -> [windows,size,C]
        padded = x.new_zeros(self.windows * self.size, x.shape[1])
        padded[self.slots] = x[self.tokens]
        return padded.view(self.windows, self.size, -1)


def group(coords: Tensor, sst: SST, shift: int) -> list[Level]:
    """Levels of one partition of pillars. coords [V,4] int32 (b,z,y,x)."""
    _, rows, columns = sst.window
    moved = coords[:, 2:].long() + shift
    across = sst.grid[2] // columns + 2
    down = sst.grid[1] // rows + 2
    window = (coords[:, 0].long() * down + moved[:, 0] // rows) * across + moved[:, 1] // columns
    _, window, counts = torch.unique(window, return_inverse=True, return_counts=True)
    order = torch.argsort(window, stable=True)
    inner = torch.empty_like(window)  # place of a token among those of its window
    inner[order] = torch.arange(len(order)) - (counts.cumsum(0) - counts)[window[order]]
    inside = torch.cat((torch.zeros_like(moved[:, :1]), moved[:, :1] % rows, moved[:, 1:] % columns), dim=1)
    position = sine_position(inside.int(), sst.window, sst.channels, sst.position_temperature)
    if int(counts.max()) > LEVELS[-1]:
        raise ValueError(f"a window holds {int(counts.max())} tokens, more than the last level {LEVELS[-1]}")
    levels, below = [], 0
    for size in LEVELS:
        here = (counts > below) & (counts <= size)
        below = size
        tokens = torch.nonzero(here[window]).flatten()
        if not len(tokens):
            continue
        rank = here.cumsum(0) - 1
        slots = rank[window[tokens]] * size + inner[tokens]
        windows = int(here.sum())
        padding = torch.ones(windows * size, dtype=torch.bool)
        padding[slots] = False
        level = Level(tokens, slots, windows, size, padding.view(windows, size), position)
        levels.append(Level(tokens, slots, windows, size, level.padding, level.pad(position)))
    return levels


class PaddedLayer(nn.Module):
    """An encoder layer of SST on padded windows, with the weights of ours."""

    def __init__(self, layer: EncoderLayer, need_weights: bool) -> None:
        super().__init__()
        ours = layer.win_attn.self_attn
        self.attention = nn.MultiheadAttention(ours.out_proj.in_features, layer.win_attn.heads)
        self.attention.in_proj_weight, self.attention.in_proj_bias = ours.in_proj_weight, ours.in_proj_bias
        self.attention.out_proj.weight, self.attention.out_proj.bias = ours.out_proj.weight, ours.out_proj.bias
        self.linear1, self.linear2, self.norm1, self.norm2 = layer.linear1, layer.linear2, layer.norm1, layer.norm2
        self.need_weights = need_weights

    def attend(self, x: Tensor, levels: list[Level]) -> Tensor:
        out = torch.zeros_like(x)
        for level in levels:
            values = level.pad(x).transpose(0, 1)
            queries = values + level.position.transpose(0, 1)
            attended, _ = self.attention(
                queries, queries, values, key_padding_mask=level.padding, need_weights=self.need_weights
            )
            out[level.tokens] = attended.transpose(0, 1).reshape(-1, x.shape[1])[level.slots]
        return out

    def forward(self, x: Tensor, levels: list[Level]) -> Tensor:
        x = self.norm1(x + self.attend(x, levels))
        return self.norm2(x + self.linear2(F.gelu(self.linear1(x))))


class PaddedSST(nn.Module):
    """The blocks of an SST by region batching. `need_weights` is MultiheadAttention's; official code leaves it true."""

    def __init__(self, sst: SST, need_weights: bool = True) -> None:
        super().__init__()
        self.sst = sst
        self.layers = nn.ModuleList(
            PaddedLayer(layer, need_weights) for block in sst.block_list for layer in block.encoder_list
        )

    def forward(self, tokens: Tensor, coords: Tensor) -> Tensor:
        """tokens [V,C], coords [V,4] int32 (b,z,y,x) -> [V,C]."""
        rows = self.sst.window[1]
        partitions = [group(coords, self.sst, shift) for shift in (rows, rows // 2)]
        for i, layer in enumerate(self.layers):
            tokens = layer(tokens, partitions[i % 2])
        return tokens

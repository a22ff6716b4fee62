"""SST, the Single-stride Sparse Transformer (Fan et al., CVPR 2022, arXiv 2112.06375).

Tokens are the occupied pillars (or voxels) of one resolution; they never leave it. Each block attends twice: inside the
windows of the grid, then inside windows shifted by half a window. Parameter names are those of the official SSTv2
with BasicShiftBlockV2, so its weights load as they are. The arrangement is ours: no padding, and no token is dropped
unless that is asked for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from perception.lidar.attached_conv import AttachedConv
from perception.lidar.padded_windows import PaddedWindows, padded_window_attention
from perception.lidar.token_drop import TokenDrop
from perception.ops.fused_linear import fused_linear
from perception.ops.sparse_to_bev import sparse_to_bev
from perception.ops.window_attention import window_attention
from perception.ops.window_partition import WindowPartition, window_partition

# What attention runs over: ragged windows, or the same windows padded, as the ONNX graph has them.
Windows = WindowPartition | PaddedWindows


def sine_position(
    position: Tensor,  # [V,3] int32, z y x inside the window
    window: tuple[int, int, int],  # z y x
    channels: int,
    temperature: float,
) -> Tensor:  # [V,channels] float32
    """Sine embedding of the position inside the window, centred: x, then y, then (for tall windows) z.

    Each axis takes channels // axes channels, sines at even and cosines at odd ones, of the position divided by
    temperature^(2 floor(i/2) / length); what is left over is zero.
    """
    axes = (2, 1) if window[0] == 1 else (2, 1, 0)
    length = channels // len(axes)
    if length % 2:
        raise ValueError(
            f"{channels} channels over {len(axes)} axes give an odd length {length}; sines and cosines pair"
        )
    exponent = torch.arange(0, length, 2, dtype=torch.float32, device=position.device) / length
    frequency = temperature**-exponent
    parts = []
    for axis in axes:
        angle = (position[:, axis].float() - window[axis] / 2)[:, None] * frequency
        parts.append(torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1))
    embedding = torch.cat(parts, dim=1)
    return F.pad(embedding, (0, channels - embedding.shape[1]))


class MultiHeadWeights(nn.Module):
    """Holds the projections of one attention; `tau` is the temperature of the cosine form, if any."""

    def __init__(self, channels: int, heads: int, cosine: bool, tau_per_head: bool) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)
        self.tau = nn.Parameter(torch.ones(1, heads, 1, 1) if tau_per_head else torch.ones(1, 1, 1)) if cosine else None


class WindowAttention(nn.Module):
    """Multi-head self-attention inside ragged windows: queries and keys see the position, values do not.

    Returns the heads' outputs side by side, before the output projection.
    """

    def __init__(self, channels: int, heads: int, cosine: bool, tau_min: float, tau_per_head: bool) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels ({channels}) must be a multiple of heads ({heads})")
        self.heads = heads
        self.tau_min = tau_min
        self.self_attn = MultiHeadWeights(channels, heads, cosine, tau_per_head)

    def forward(self, tokens: Tensor, position: Tensor, partition: Windows) -> Tensor:
        weights = self.self_attn
        channels = tokens.shape[1]
        w_qk, w_v = weights.in_proj_weight.split((2 * channels, channels))
        b_qk, b_v = weights.in_proj_bias.split((2 * channels, channels))
        q, k = fused_linear(tokens + position, w_qk, b_qk).view(-1, 2, self.heads, channels // self.heads).unbind(1)
        v = fused_linear(tokens, w_v, b_v).view(-1, self.heads, channels // self.heads)
        temperature = None
        if weights.tau is not None:
            temperature = weights.tau.clamp(min=self.tau_min).flatten().float().expand(self.heads)
        scale = (channels // self.heads) ** -0.5
        if isinstance(partition, PaddedWindows):
            out = padded_window_attention(q, k, v, partition, scale, temperature)
        else:
            out = window_attention(q, k, v, partition.order, partition.offsets, scale, temperature)
        return out.view(-1, channels)


class EncoderLayer(nn.Module):
    """Attention and a two-layer perceptron, each with a residual and a layer norm after it (post-norm)."""

    def __init__(
        self, channels: int, heads: int, hidden: int, cosine: bool, tau_min: float, tau_per_head: bool
    ) -> None:
        super().__init__()
        self.win_attn = WindowAttention(channels, heads, cosine, tau_min, tau_per_head)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, tokens: Tensor, position: Tensor, partition: Windows) -> Tensor:
        out_proj = self.win_attn.self_attn.out_proj
        attended = self.win_attn(tokens, position, partition)
        tokens = fused_linear(attended, out_proj.weight, out_proj.bias, residual=tokens, norm=self.norm1)
        hidden = fused_linear(tokens, self.linear1.weight, self.linear1.bias, gelu=True)
        return fused_linear(hidden, self.linear2.weight, self.linear2.bias, residual=tokens, norm=self.norm2)


class ShiftBlock(nn.Module):
    """Two encoder layers: one over the windows, one over the windows shifted by half their size."""

    def __init__(
        self, channels: int, heads: int, hidden: int, cosine: bool, tau_min: float, tau_per_head: bool
    ) -> None:
        super().__init__()
        self.encoder_list = nn.ModuleList(
            EncoderLayer(channels, heads, hidden, cosine, tau_min, tau_per_head) for _ in range(2)
        )

    def forward(self, tokens: Tensor, positions: list[Tensor], partitions: tuple[Windows, Windows]) -> Tensor:
        for layer, position, partition in zip(self.encoder_list, positions, partitions, strict=True):
            tokens = layer(tokens, position, partition)
        return tokens


class SST(nn.Module):
    """Shifted-window attention over the occupied cells of one grid, then the tokens as a dense BEV map.

    Args:
        in_channels: channels of the tokens that come in; projected by `linear0` when they differ from `channels`.
        channels, heads, hidden, blocks: width of a token, attention heads, width of the perceptron, number of blocks.
        window: cells (z, y, x) of a window. Window z of 1 is the pillar form.
        grid: cells (Z, Y, X) of the whole map.
        cosine, tau_min, tau_per_head: cosine attention with a learned temperature, clamped below at tau_min.
        position_temperature: of the sine position embedding (paper: 10000).
        conv_dilations: dilations of the attached 3x3 convolutions (AttachedConv) that fill holes of the dense map. None
            by default: the official config has (1, 1, 2), which cost more than all attention, and a BEV decoder behind
            the map does as well without (docs/lidar.md).
        conv_shortcut: add the input of each attached convolution to its output.
        gradient_checkpointing: recompute each block in the backward pass instead of storing it.
        drop: levels of the paper's token dropping, to train as it did; None drops nothing.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 128,
        heads: int = 8,
        hidden: int = 256,
        blocks: int = 6,
        window: tuple[int, int, int] = (1, 12, 12),
        grid: tuple[int, int, int] = (1, 360, 360),
        cosine: bool = False,
        tau_min: float = 0.01,
        tau_per_head: bool = False,
        position_temperature: float = 10000.0,
        conv_dilations: tuple[int, ...] = (),
        conv_shortcut: bool = True,
        gradient_checkpointing: bool = False,
        drop: TokenDrop | None = None,
    ) -> None:
        super().__init__()
        self.window = (int(window[0]), int(window[1]), int(window[2]))
        self.grid = (int(grid[0]), int(grid[1]), int(grid[2]))
        self.stride = 1
        self.channels = channels
        self.position_temperature = position_temperature
        self.conv_shortcut = conv_shortcut
        self.gradient_checkpointing = gradient_checkpointing
        self.drop = drop
        self.linear0 = nn.Linear(in_channels, channels) if in_channels != channels else nn.Identity()
        self.block_list = nn.ModuleList(
            ShiftBlock(channels, heads, hidden, cosine, tau_min, tau_per_head) for _ in range(blocks)
        )
        self.out_channels = channels * grid[0]
        self.conv_layer = nn.ModuleList(AttachedConv(self.out_channels, dilation) for dilation in conv_dilations)

    def encode(self, tokens: Tensor, coords: Tensor, batch_size: int) -> Tensor:
        """Attend. tokens [V,in_channels], coords [V,4] int32 (b,z,y,x), sorted -> [V,channels]."""
        return self.attend(tokens, window_partition(coords, batch_size, self.grid, self.window))

    def attend(self, tokens: Tensor, partitions: tuple[Windows, Windows]) -> Tensor:
        """The blocks, over both partitions of the tokens: [V,in_channels] -> [V,channels]."""
        if isinstance(self.linear0, nn.Linear):
            tokens = fused_linear(tokens, self.linear0.weight, self.linear0.bias)
        positions = [
            sine_position(p.position, self.window, self.channels, self.position_temperature).to(tokens.dtype)
            for p in partitions
        ]
        for block in self.block_list:
            if self.gradient_checkpointing and self.training:
                tokens = checkpoint(block, tokens, positions, partitions, use_reentrant=False)
            else:
                tokens = block(tokens, positions, partitions)
        return tokens

    def forward(self, tokens: Tensor, coords: Tensor, batch_size: int) -> Tensor:
        """tokens [V,in_channels], coords [V,4] int32 (b,z,y,x), sorted -> BEV [B,channels*Z,Y,X]; zeros where empty."""
        if self.drop is not None and self.drop.drops(self.training, math.prod(self.window)):
            kept = self.drop.survivors(coords, batch_size, self.grid, self.window, self.training)
            tokens, coords = tokens[kept], coords[kept]
        return self.attach(sparse_to_bev(self.encode(tokens, coords, batch_size), coords, batch_size, self.grid))

    def attach(self, bev: Tensor) -> Tensor:
        """The attached convolutions on the dense map, [B,channels*Z,Y,X] -> the same."""
        for conv in self.conv_layer:
            out = conv(bev)
            if self.conv_shortcut:
                # The gradient of ReLU needs its output as it is; without a gradient, adding into it saves a pass.
                out = out + bev if torch.is_grad_enabled() else out.add_(bev)
            bev = out
        return bev

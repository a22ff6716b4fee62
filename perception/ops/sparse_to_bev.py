"""Tokens into a dense bird's-eye-view map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def sparse_to_bev(
    features: Tensor,  # [V,C], elements of 2, 4 or 8 bytes
    coords: Tensor,  # [V,4] int32 (b, z, y, x), each cell at most once
    batch_size: int,
    grid: tuple[int, int, int],  # Z Y X
) -> Tensor:  # [B,C*Z,Y,X]
    """Dense map with zeros where no token is; channel c of height cell z is c * Z + z. Differentiable in `features`.

    Raises:
        ValueError: shapes or dtypes disagree, or coords outside the grid (with their count; on CUDA, where looking
            would make the device wait, such tokens are left out).
    """
    if features.ndim != 2 or coords.shape != (features.shape[0], 4):
        raise ValueError(f"features {tuple(features.shape)} and coords {tuple(coords.shape)} must be [V,C] and [V,4]")
    if coords.dtype != torch.int32:
        raise ValueError(f"coords must be int32, got {coords.dtype}")
    if min(grid) < 1 or batch_size < 0:
        raise ValueError(f"grid {grid} (cells) and batch_size {batch_size} must be positive")
    return torch.ops.perception.sparse_to_bev(features, coords, batch_size, list(grid))


@torch.library.register_fake("perception::sparse_to_bev")
def _sparse_to_bev_fake(features: Tensor, coords: Tensor, batch_size: int, grid: Sequence[int]) -> Tensor:
    depth, rows, columns = grid
    return features.new_empty((batch_size, features.shape[1] * depth, rows, columns))


@torch.library.register_fake("perception::sparse_to_bev_backward")
def _sparse_to_bev_backward_fake(grad_bev: Tensor, coords: Tensor, grid: Sequence[int]) -> Tensor:
    return grad_bev.new_empty((coords.shape[0], grad_bev.shape[1] // grid[0]))


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, Sequence[int]], output: Tensor) -> None:
    _, coords, _, grid = inputs
    ctx.grid = list(grid)
    ctx.save_for_backward(coords)


def _backward(ctx: Any, grad_bev: Tensor) -> tuple[Tensor, None, None, None]:
    (coords,) = ctx.saved_tensors
    return torch.ops.perception.sparse_to_bev_backward(grad_bev, coords, ctx.grid), None, None, None


torch.library.register_autograd("perception::sparse_to_bev", _backward, setup_context=_setup_context)

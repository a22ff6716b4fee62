"""Tokens into a dense bird's-eye-view map."""

from __future__ import annotations

from torch import Tensor


def sparse_to_bev(
    features: Tensor,  # [V,C]
    coords: Tensor,  # [V,4] int32 (b, z, y, x), each cell at most once
    batch_size: int,
    grid: tuple[int, int, int],  # Z Y X
) -> Tensor:  # [B,C*Z,Y,X]
    """Dense map with zeros where no token is; channel c of height cell z is c * Z + z. Differentiable in `features`."""
    depth, rows, columns = grid
    b, z, y, x = coords.long().unbind(1)
    flat = ((b * depth + z) * rows + y) * columns + x
    dense = features.new_zeros((batch_size * depth * rows * columns, features.shape[1])).index_copy(0, flat, features)
    dense = dense.view(batch_size, depth, rows, columns, -1).permute(0, 4, 1, 2, 3)
    return dense.reshape(batch_size, -1, rows, columns)

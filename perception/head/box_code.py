"""How a head writes a box down relative to a cell of its map, and how it is read back."""

from __future__ import annotations

import torch
from torch import Tensor

from perception.geometry.grid import BEVGrid

# Channels: offset in the cell (x, y, in cells), height of the centre (m), log of length, width, height (m), sine and
# cosine of the yaw, velocity (x, y, in VELOCITY_UNIT_MPS).
OFFSET, HEIGHT, LOG_SIZE, SIN_COS, VELOCITY = slice(0, 2), slice(2, 3), slice(3, 6), slice(6, 8), slice(8, 10)
BOX_CHANNELS = 10
# What traffic moves at, so that these channels are of the others' size and learn as fast.
VELOCITY_UNIT_MPS = 8.0


def cell_position(boxes: Tensor, grid: BEVGrid) -> Tensor:
    """Where the centres of boxes [...,9] lie on the map: column and row [...,2], in cells from its corner."""
    low = boxes.new_tensor(grid.range_min_m[:2])
    return (boxes[..., :2] - low) / boxes.new_tensor(grid.cell_m[:2])


def encode_boxes(boxes: Tensor, cell: Tensor, grid: BEVGrid) -> Tensor:
    """Code [...,10] of boxes [...,9] (LiDAR frame) relative to cells [...,2] (column, row); NaN where a velocity is."""
    yaw = boxes[..., 6:7]
    parts = (
        cell_position(boxes, grid) - cell,
        boxes[..., 2:3],
        boxes[..., 3:6].log(),
        yaw.sin(),
        yaw.cos(),
        boxes[..., 7:9] / VELOCITY_UNIT_MPS,
    )
    return torch.cat(parts, dim=-1)


def decode_boxes(code: Tensor, column: Tensor, row: Tensor, grid: BEVGrid) -> Tensor:
    """Boxes [...,9] (LiDAR frame) of code [...,10] at cells column [...] and row [...]."""
    low_x, low_y, _ = grid.range_min_m
    size_x, size_y, _ = grid.cell_m
    x = low_x + (column + code[..., 0]) * size_x
    y = low_y + (row + code[..., 1]) * size_y
    # Beyond e^4 = 55 m no road user exists; the clamp keeps half precision finite.
    size = code[..., LOG_SIZE].clamp(-4, 4).exp()
    yaw = torch.atan2(code[..., 6], code[..., 7])
    velocity = code[..., VELOCITY] * VELOCITY_UNIT_MPS
    return torch.cat((torch.stack((x, y), -1), code[..., HEIGHT], size, yaw[..., None], velocity), dim=-1)

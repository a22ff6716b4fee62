"""Training targets and losses of the centre head, vectorised over boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.geometry.grid import BEVGrid
from perception.head.box_code import (
    BOX_CHANNELS,
    SIN_COS,
    VELOCITY,
    VELOCITY_UNIT_MPS,
    cell_position,
    decode_boxes,
    encode_boxes,
)
from perception.head.box_overlap import box_iou_3d_pairs
from perception.head.center_head import CenterHead, HeadOutput
from perception.head.object_count import object_count


class CenterTargets(NamedTuple):
    """Attributes:
    heatmap: [B,classes,Y,X] float32, a Gaussian of height 1 at each object's cell.
    sample, label, cell: [T] int64 of each cell that regresses a box; cell is flat. With box_radius 0 these are the
        cells of the K boxes inside the map.
    box: [T,9] float32 box of each such cell, LiDAR frame.
    code: [T,10] float32 its code at the cell; zero where it is unknown.
    weight: [T,10] float32, over the cells of a box 1 in all; zero where the target is unknown (velocity without
        neighbouring frames).
    boxes: K.
    """

    heatmap: Tensor
    sample: Tensor
    label: Tensor
    cell: Tensor
    box: Tensor
    code: Tensor
    weight: Tensor
    boxes: int


def gaussian_radius(length: Tensor, width: Tensor, min_overlap: float) -> Tensor:
    """Largest shift of a length x width box (in cells) that keeps an IoU of min_overlap with itself, as CornerNet's
    radius (Law & Deng, ECCV 2018): the smallest of its three cases."""
    total, area = length + width, length * width

    def root(a: float, b: Tensor, c: Tensor) -> Tensor:
        return (b - (b * b - 4 * a * c).clamp(min=0).sqrt()) / (2 * a)

    both_moved = root(1, total, area * (1 - min_overlap) / (1 + min_overlap))
    inside = root(4, 2 * total, (1 - min_overlap) * area)
    b = 2 * min_overlap * total
    outside = (-b + (b * b + 16 * min_overlap * (1 - min_overlap) * area).sqrt()) / (8 * min_overlap)
    return torch.stack((both_moved, inside, outside)).amin(0)


@torch.no_grad()
def center_targets(
    boxes: Tensor,  # [K,9] float32, LiDAR frame; velocity may be NaN
    labels: Tensor,  # [K] int64
    sample: Tensor,  # [K] int64
    batch_size: int,
    classes: int,
    grid: BEVGrid,
    min_overlap: float = 0.1,
    min_radius: int = 1,
    box_radius: int = 0,
) -> CenterTargets:
    """Targets of a batch of boxes; those whose centre lies outside the grid's rows and columns are left out.

    The box is regressed at its own cell and at those up to `box_radius` from it, which sees more of the map per step
    and forgives a peak beside its cell (as AFDet's offset map, Ge et al., 2020).
    """
    _, rows, columns = grid.shape
    position = cell_position(boxes, grid)
    column, row = position.floor().long().unbind(1)
    keep = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    boxes, labels, sample, column, row = (t[keep] for t in (boxes, labels, sample, column, row))

    radius = gaussian_radius(boxes[:, 3] / grid.cell_m[0], boxes[:, 4] / grid.cell_m[1], min_overlap)
    radius = radius.floor().clamp(min_radius, 16)
    heatmap = boxes.new_zeros(batch_size, classes, rows, columns)
    if len(boxes):
        reach = torch.arange(-16, 17, device=boxes.device)
        dy, dx = torch.meshgrid(reach, reach, indexing="ij")
        y, x = row[:, None, None] + dy, column[:, None, None] + dx
        # CenterNet's deviation: a sixth of the diameter.
        sigma = ((2 * radius + 1) / 6)[:, None, None]
        value = torch.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
        inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        inside &= (dx.abs() <= radius[:, None, None]) & (dy.abs() <= radius[:, None, None])
        flat = (((sample * classes + labels)[:, None, None] * rows + y) * columns + x)[inside]
        heatmap.view(-1).scatter_reduce_(0, flat, value[inside], "amax")

    reach = torch.arange(-box_radius, box_radius + 1, device=boxes.device)
    dy, dx = (d.flatten() for d in torch.meshgrid(reach, reach, indexing="ij"))
    share = torch.exp(-(dx * dx + dy * dy) / 2.0)
    y, x = row[:, None] + dy, column[:, None] + dx
    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    share = share * inside
    share = (share / share.sum(dim=1, keepdim=True))[inside]
    which = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(inside)[inside]
    y, x = y[inside], x[inside]
    code = encode_boxes(boxes[which], torch.stack((x, y), dim=1), grid)
    weight = torch.isfinite(code) * share[:, None]
    code = code.nan_to_num(0.0, 0.0, 0.0)
    return CenterTargets(
        heatmap, sample[which], labels[which], y * columns + x, boxes[which], code, weight, len(labels)
    )


def gaussian_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """CenterNet's penalty-reduced focal loss (Zhou et al., 2019, equation 1), summed; alpha 2, beta 4."""
    logits = logits.float()
    p = logits.sigmoid()
    positive = F.logsigmoid(logits) * (1 - p) ** 2 * (target == 1)
    negative = F.logsigmoid(-logits) * p**2 * (1 - target) ** 4
    return -(positive + negative).sum()


class CenterLoss(nn.Module):
    """Heatmap, box and overlap losses of the centre head.

    Args:
        grid: the head's grid.
        classes: number of classes.
        box_weight: weight of the box loss against the heatmap's (CenterPoint: 0.25).
        velocity_weight: weight of the velocity (per m/s) within the box loss (CenterPoint: 0.2).
        min_overlap, min_radius: of the Gaussians, in cells.
        box_radius: how far from an object's cell its box is learnt too, in cells.
        iou_weight: weight of the predicted overlap's loss, where the head predicts it (CIA-SSD: 1).
    """

    code_weight: Tensor

    def __init__(
        self,
        grid: BEVGrid,
        classes: int,
        box_weight: float = 0.25,
        velocity_weight: float = 0.2,
        min_overlap: float = 0.1,
        min_radius: int = 1,
        box_radius: int = 0,
        iou_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.grid, self.classes, self.box_weight, self.iou_weight = grid, classes, box_weight, iou_weight
        self.min_overlap, self.min_radius, self.box_radius = min_overlap, min_radius, box_radius
        code = torch.ones(BOX_CHANNELS)
        code[VELOCITY] = velocity_weight * VELOCITY_UNIT_MPS
        self.register_buffer("code_weight", code, persistent=False)

    def forward(
        self, head: CenterHead, output: HeadOutput, boxes: Tensor, labels: Tensor, sample: Tensor
    ) -> dict[str, Tensor]:
        """Losses by name of what `head` put out, for boxes [K,9], labels [K] and sample [K] of the whole batch."""
        batch = output.heatmap.shape[0]
        target = center_targets(
            boxes, labels, sample, batch, self.classes, self.grid, self.min_overlap, self.min_radius, self.box_radius
        )
        count = object_count(target.boxes, boxes.device)
        losses = {"loss_heatmap": gaussian_focal_loss(output.heatmap, target.heatmap) / count}
        group = head.group_of_class[target.label]
        code = output.box.float().flatten(3)[target.sample, group, :, target.cell]
        error = (code - target.code).abs() * target.weight * self.code_weight
        losses["loss_box"] = self.box_weight * error.sum() / count
        if output.iou is not None:
            iou = output.iou.float().flatten(2)[target.sample, group, target.cell]
            columns = self.grid.shape[2]
            found = decode_boxes(code.detach(), target.cell % columns, target.cell // columns, self.grid)
            miss = (iou - (2 * box_iou_3d_pairs(found, target.box) - 1)).abs()
            losses["loss_iou"] = self.iou_weight * (miss * target.weight[:, 0]).sum() / count
        with torch.no_grad():
            losses["yaw_error"] = error[:, SIN_COS].sum() / (2 * count)
        return losses

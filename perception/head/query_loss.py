"""Losses of the query head: one query per object by the cheapest matching, vectorised over boxes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.geometry.grid import BEVGrid
from perception.head.box_code import BOX_CHANNELS, SIN_COS, VELOCITY, VELOCITY_UNIT_MPS, decode_boxes, encode_boxes
from perception.head.box_overlap import box_iou_3d
from perception.head.center_targets import center_targets, gaussian_focal_loss
from perception.head.object_count import object_count
from perception.head.query_head import QueryHead, QueryOutput

# Rows and columns [min(Q,K)] int64 of the cheapest one-to-one matching of a cost [Q,K].
Matcher = Callable[[Tensor], tuple[Tensor, Tensor]]

# TransFusion's focal loss and the weights of its matching cost (class, place on the map, overlap).
ALPHA, GAMMA = 0.25, 2.0
CLASS_COST, PLACE_COST, OVERLAP_COST = 0.15, 0.25, 0.25


class QueryLoss(nn.Module):
    """Focal loss of the queries' classes, L1 of the matched boxes, and the auxiliary heatmap's loss.

    Args:
        matcher: the assignment (perception.engine.matching.hungarian).
        grid: the head's grid.
        classes: number of classes.
        box_weight: weight of the box loss (TransFusion: 0.25).
        velocity_weight: weight of the velocity (per m/s) within the box loss (TransFusion: 0.2).
        min_overlap, min_radius: of the heatmap's Gaussians, in cells.
    """

    code_weight: Tensor

    def __init__(
        self,
        matcher: Matcher,
        grid: BEVGrid,
        classes: int,
        box_weight: float = 0.25,
        velocity_weight: float = 0.2,
        min_overlap: float = 0.1,
        min_radius: int = 1,
    ) -> None:
        super().__init__()
        self.matcher, self.grid, self.classes, self.box_weight = matcher, grid, classes, box_weight
        self.min_overlap, self.min_radius = min_overlap, min_radius
        code = torch.ones(BOX_CHANNELS)
        code[VELOCITY] = velocity_weight * VELOCITY_UNIT_MPS
        self.register_buffer("code_weight", code, persistent=False)

    def forward(
        self, head: QueryHead, output: QueryOutput, boxes: Tensor, labels: Tensor, sample: Tensor
    ) -> dict[str, Tensor]:
        """Losses by name of what `head` put out, for boxes [K,9], labels [K] and sample [K] of the whole batch."""
        batch, queries = output.label.shape
        target = center_targets(
            boxes, labels, sample, batch, self.classes, self.grid, self.min_overlap, self.min_radius
        )
        count = object_count(target.boxes, boxes.device)
        losses = {"loss_heatmap": gaussian_focal_loss(output.heatmap, target.heatmap) / count}

        # Boxes inside the map, as the heatmap has them.
        boxes, labels, sample = target.box, target.label, target.sample
        query, box = self._match(output, boxes, labels, sample)
        positive = torch.zeros(batch * queries, self.classes, device=boxes.device)
        positive[query, labels[box]] = 1.0
        logits = output.logits.float().flatten(0, 1)
        p = logits.sigmoid()
        share = torch.where(positive > 0, ALPHA * (1 - p) ** GAMMA, (1 - ALPHA) * p**GAMMA)
        focal = share * F.binary_cross_entropy_with_logits(logits, positive, reduction="none")
        losses["loss_class"] = focal.sum() / count

        code = output.code.float().flatten(0, 1)[query]
        cell = output.cell.flatten()[query]
        columns = self.grid.shape[2]
        wanted = encode_boxes(boxes[box], torch.stack((cell % columns, cell // columns), dim=1), self.grid)
        known = torch.isfinite(wanted)
        error = (code - wanted.nan_to_num(0.0, 0.0, 0.0)).abs() * known * self.code_weight
        losses["loss_box"] = self.box_weight * error.sum() / count
        with torch.no_grad():
            losses["yaw_error"] = error[:, SIN_COS].sum() / (2 * count)
        return losses

    @torch.no_grad()
    def _match(self, output: QueryOutput, boxes: Tensor, labels: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Query (flat over the batch) and row of `boxes` of every matched pair."""
        queries = output.label.shape[1]
        columns = self.grid.shape[2]
        found = decode_boxes(output.code.float(), output.cell % columns, output.cell // columns, self.grid)
        p = output.logits.float().sigmoid().clamp(1e-6, 1 - 1e-6)
        # What the focal loss would be as this class, less what it is as background (mmdet's FocalLossCost).
        as_class = ALPHA * (1 - p) ** GAMMA * -p.log() - (1 - ALPHA) * p**GAMMA * -(1 - p).log()
        extent = boxes.new_tensor([b - a for a, b in zip(self.grid.range_min_m, self.grid.range_max_m, strict=True)])
        pairs = []
        for b in range(output.label.shape[0]):
            own = (sample == b).nonzero().flatten()
            place = torch.cdist(found[b, :, :2] / extent[:2], boxes[own, :2] / extent[:2], p=1)
            overlap = box_iou_3d(found[b], boxes[own])
            cost = CLASS_COST * as_class[b][:, labels[own]] + PLACE_COST * place - OVERLAP_COST * overlap
            query, column = self.matcher(cost)
            pairs.append((query + b * queries, own[column]))
        return torch.cat([q for q, _ in pairs]), torch.cat([k for _, k in pairs])

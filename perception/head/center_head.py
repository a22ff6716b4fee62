"""The centre head (CenterPoint, Yin et al., CVPR 2021): objects are peaks of a class heatmap, boxes are read there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.fusion.decoder import conv_norm_relu
from perception.geometry.grid import BEVGrid

# Channels of the box regression: offset in the cell (x, y), height of the centre (m), log of length, width, height (m),
# sine and cosine of the yaw, velocity (x, y, in VELOCITY_UNIT_MPS).
OFFSET, HEIGHT, LOG_SIZE, SIN_COS, VELOCITY = slice(0, 2), slice(2, 3), slice(3, 6), slice(6, 8), slice(8, 10)
BOX_CHANNELS = 10
# What traffic moves at, so that these channels are of the others' size and learn as fast.
VELOCITY_UNIT_MPS = 8.0
# Far above what rounding does to a float32 logit, far below what tells a peak from its neighbour.
TIE_LOGIT = 1e-3


class HeadOutput(NamedTuple):
    """Attributes:
    heatmap: [B,classes,Y,X] logits.
    box: [B,groups,10,Y,X] regression of each task group.
    """

    heatmap: Tensor
    box: Tensor


class Detections(NamedTuple):
    """A fixed number of candidates per sample, by descending score.

    Attributes:
        boxes: [B,K,9] float32, LiDAR frame.
        scores: [B,K] float32.
        labels: [B,K] int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class CenterHead(nn.Module):
    """Heatmap and box regression per task group.

    Args:
        in_channels: channels of the BEV map.
        grid: the map's own grid (at its stride).
        groups: classes of each task group, as indices; classes of one group share a trunk and a regression. CenterPoint
            groups similar classes; one group of all classes is the cheap form.
        channels: width of a trunk.
        candidates: detections decoded per sample.
        nms_radius_m: per class, how near two detections of it may be; of nearer ones the better stays (score 0 for the
            other). Zero keeps all.
    """

    group_of_class: Tensor
    class_order: Tensor
    nms_radius_m: Tensor

    def __init__(
        self,
        in_channels: int,
        grid: BEVGrid,
        groups: Sequence[Sequence[int]],
        channels: int = 64,
        candidates: int = 300,
        nms_radius_m: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        classes = sorted(c for group in groups for c in group)
        if classes != list(range(len(classes))):
            raise ValueError(f"groups must hold every class index once, got {groups}")
        self.grid, self.candidates = grid, candidates
        self.shared = conv_norm_relu(in_channels, channels)
        self.trunks = nn.ModuleList(conv_norm_relu(channels, channels) for _ in groups)
        self.heatmaps = nn.ModuleList(nn.Conv2d(channels, len(group), 3, padding=1) for group in groups)
        self.boxes = nn.ModuleList(nn.Conv2d(channels, BOX_CHANNELS, 3, padding=1) for _ in groups)
        self.register_buffer("group_of_class", torch.zeros(len(classes), dtype=torch.long), persistent=False)
        for g, group in enumerate(groups):
            self.group_of_class[list(group)] = g
        radius = torch.tensor(nms_radius_m or [0.0] * len(classes), dtype=torch.float32)
        if len(radius) != len(classes):
            raise ValueError(f"nms_radius_m has {len(radius)} values for {len(classes)} classes")
        self.register_buffer("nms_radius_m", radius, persistent=False)
        # Heatmap channels come out group by group; this puts them into class order.
        self.register_buffer(
            "class_order", torch.argsort(torch.tensor([c for group in groups for c in group])), persistent=False
        )
        for name, parameter in self.heatmaps.named_parameters():
            if name.endswith("bias"):
                # Start from a score of 0.1 (focal loss, Lin et al., ICCV 2017, section 4.1).
                nn.init.constant_(parameter, -2.19)

    def forward(self, bev: Tensor) -> HeadOutput:
        """bev [B,C,Y,X] -> HeadOutput."""
        x = self.shared(bev)
        features = [trunk(x) for trunk in self.trunks]
        heatmap = torch.cat([conv(f) for conv, f in zip(self.heatmaps, features, strict=True)], dim=1)
        box = torch.stack([conv(f) for conv, f in zip(self.boxes, features, strict=True)], dim=1)
        return HeadOutput(heatmap[:, self.class_order], box)

    def decode(self, output: HeadOutput) -> Detections:
        """Peaks of the heatmap (maxima of their 3x3 neighbourhood) as boxes, the best `candidates` of each sample."""
        logits = output.heatmap.float()
        classes, rows, columns = logits.shape[1:]
        scores = torch.where(_peaks(logits), logits.sigmoid(), 0.0)
        top, index = scores.flatten(1).topk(min(self.candidates, classes * rows * columns))
        labels, cell = index // (rows * columns), index % (rows * columns)
        group = self.group_of_class[labels]
        flat = output.box.float().flatten(3).permute(0, 1, 3, 2).flatten(1, 2)  # [B,groups*Y*X,10]
        picked = flat.gather(1, (group * (rows * columns) + cell)[..., None].expand(-1, -1, BOX_CHANNELS))
        boxes = self._boxes(picked, cell % columns, cell // columns)
        return Detections(boxes, self._suppress(boxes, top, labels), labels)

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        """Scores [B,K] with zero where a better candidate of the same class is nearer than the class's radius."""
        # By differences: by products of coordinates, as cdist does it by default, 0.3 m at 50 m is off by a millimetre.
        gap = torch.cdist(boxes[..., :2], boxes[..., :2], compute_mode="donot_use_mm_for_euclid_dist")
        near = (gap < self.nms_radius_m[labels][..., None]) & (labels[..., None] == labels[..., None, :])
        # Candidates come by descending score: the better ones of candidate k are those before it.
        better = torch.ones_like(near).tril(-1)
        return torch.where((near & better).any(dim=-1), 0.0, scores)

    def _boxes(self, regression: Tensor, column: Tensor, row: Tensor) -> Tensor:
        low_x, low_y, _ = self.grid.range_min_m
        size_x, size_y, _ = self.grid.cell_m
        x = low_x + (column + regression[..., 0]) * size_x
        y = low_y + (row + regression[..., 1]) * size_y
        # Beyond e^4 = 55 m no road user exists; the clamp keeps half precision finite.
        size = regression[..., LOG_SIZE].clamp(-4, 4).exp()
        yaw = torch.atan2(regression[..., 6], regression[..., 7])
        velocity = regression[..., VELOCITY] * VELOCITY_UNIT_MPS
        parts = (torch.stack((x, y), -1), regression[..., HEIGHT], size, yaw[..., None], velocity)
        return torch.cat(parts, dim=-1)


def _peaks(logits: Tensor) -> Tensor:
    """Where a map [...,Y,X] is greatest among its 3x3 neighbours, [...,Y,X] bool.

    Of neighbours that differ by rounding alone the first in reading order counts. Where nothing is seen the map is
    flat: without this every cell there would be a peak or none, as the last bit of a convolution falls.
    """
    padded = F.pad(logits, (1, 1, 1, 1), value=-torch.inf)
    triple = torch.maximum(torch.maximum(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    before = torch.maximum(triple[..., :-2, :], padded[..., 1:-1, :-2])
    after = torch.maximum(triple[..., 2:, :], padded[..., 1:-1, 2:])
    return (logits > before + TIE_LOGIT) & (logits >= after - TIE_LOGIT)

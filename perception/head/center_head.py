"""The centre head (CenterPoint, Yin et al., CVPR 2021): objects are peaks of a class heatmap, boxes are read there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.fusion.decoder import conv_norm_relu
from perception.geometry.grid import BEVGrid
from perception.head.box_code import BOX_CHANNELS, decode_boxes

# Far above what rounding does to a float32 logit, far below what tells a peak from its neighbour.
TIE_LOGIT = 1e-3


class HeadOutput(NamedTuple):
    """Attributes:
    heatmap: [B,classes,Y,X] logits.
    box: [B,groups,10,Y,X] code of each task group's box (box_code).
    iou: [B,groups,Y,X] overlap that the box is expected to have with the object, from -1 (none) to 1 (all); None
        where the head does not predict it.
    """

    heatmap: Tensor
    box: Tensor
    iou: Tensor | None


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
        iou_share: exponent a of the score s^(1-a) iou^a by which a well placed box passes before a merely likely one
            (CIA-SSD, Zheng et al., AAAI 2021; AFDetV2, Hu et al., AAAI 2022, which takes 0.5 to 0.7). Zero: the score
            is the heatmap's, and no overlap is predicted.
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
        iou_share: float = 0.0,
    ) -> None:
        super().__init__()
        classes = sorted(c for group in groups for c in group)
        if classes != list(range(len(classes))):
            raise ValueError(f"groups must hold every class index once, got {groups}")
        if not 0 <= iou_share < 1:
            raise ValueError(f"iou_share must be at least 0 and below 1, got {iou_share}")
        self.grid, self.candidates, self.iou_share = grid, candidates, iou_share
        self.shared = conv_norm_relu(in_channels, channels)
        self.trunks = nn.ModuleList(conv_norm_relu(channels, channels) for _ in groups)
        self.heatmaps = nn.ModuleList(nn.Conv2d(channels, len(group), 3, padding=1) for group in groups)
        self.boxes = nn.ModuleList(nn.Conv2d(channels, BOX_CHANNELS, 3, padding=1) for _ in groups)
        self.ious = nn.ModuleList(nn.Conv2d(channels, 1, 3, padding=1) for _ in groups) if iou_share > 0 else None
        self.register_buffer("group_of_class", torch.zeros(len(classes), dtype=torch.long), persistent=False)
        for g, group in enumerate(groups):
            self.group_of_class[list(group)] = g
        radius = torch.tensor(nms_radius_m or [0.0] * len(classes), dtype=torch.float32)
        if len(radius) != len(classes):
            raise ValueError(f"nms_radius_m has {len(radius)} values for {len(classes)} classes")
        self.register_buffer("nms_radius_m", radius, persistent=False)
        # Heatmap channels come out group by group; this puts them into class order.
        channel_class = [c for group in groups for c in group]
        self.in_class_order = channel_class == classes
        self.register_buffer("class_order", torch.argsort(torch.tensor(channel_class)), persistent=False)
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
        iou = None
        if self.ious is not None:
            iou = torch.cat([conv(f) for conv, f in zip(self.ious, features, strict=True)], dim=1)
        # An index only where it changes something: an exported program looks it up for every neighbour of a peak.
        return HeadOutput(heatmap if self.in_class_order else heatmap[:, self.class_order], box, iou)

    def decode(self, output: HeadOutput) -> Detections:
        """Peaks of the heatmap (maxima of their 3x3 neighbourhood) as boxes, the best `candidates` of each sample."""
        logits = output.heatmap.float()
        classes, rows, columns = logits.shape[1:]
        scores = torch.where(_peaks(logits), logits.sigmoid(), 0.0)
        top, index = scores.flatten(1).topk(min(self.candidates, classes * rows * columns))
        labels, cell = index // (rows * columns), index % (rows * columns)
        place = self.group_of_class[labels] * (rows * columns) + cell
        if output.iou is not None:
            iou = (output.iou.float().flatten(1).gather(1, place) + 1) / 2
            top, order = (top ** (1 - self.iou_share) * iou.clamp(0, 1) ** self.iou_share).sort(descending=True)
            labels, cell, place = (t.gather(1, order) for t in (labels, cell, place))
        flat = output.box.float().flatten(3).permute(0, 1, 3, 2).flatten(1, 2)  # [B,groups*Y*X,10]
        picked = flat.gather(1, place[..., None].expand(-1, -1, BOX_CHANNELS))
        boxes = decode_boxes(picked, cell % columns, cell // columns, self.grid)
        return Detections(boxes, suppress(boxes, top, labels, self.nms_radius_m), labels)


def suppress(boxes: Tensor, scores: Tensor, labels: Tensor, radius_m: Tensor) -> Tensor:
    """Scores [B,K] with zero where a better candidate of the same class is nearer than the class's radius.

    boxes [B,K,9], scores [B,K] descending, labels [B,K], radius_m [classes].
    """
    # By differences: by products of coordinates, as cdist does it by default, 0.3 m at 50 m is off by a millimetre; and
    # cdist has no ONNX operator.
    gap = torch.linalg.vector_norm(boxes[..., :, None, :2] - boxes[..., None, :, :2], dim=-1)
    near = (gap < radius_m[labels][..., None]) & (labels[..., None] == labels[..., None, :])
    # Candidates come by descending score: the better ones of candidate k are those before it.
    better = torch.ones_like(near).tril(-1)
    return torch.where((near & better).any(dim=-1), 0.0, scores)


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

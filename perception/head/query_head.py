"""The query head (TransFusion, Bai et al., CVPR 2022): peaks of a class heatmap ask the fused map for their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.fusion.decoder import conv_norm_relu
from perception.geometry.grid import BEVGrid
from perception.head.box_code import BOX_CHANNELS, decode_boxes
from perception.head.center_head import Detections, suppress


class QueryOutput(NamedTuple):
    """Attributes:
    heatmap: [B,classes,Y,X] logits.
    label: [B,Q] int64, the class of each query.
    cell: [B,Q] int64, its flat cell.
    peak: [B,Q] float32, the heatmap's probability there.
    logits: [B,Q,classes] of the box that it found.
    code: [B,Q,10] that box's code (box_code), relative to the cell.
    """

    heatmap: Tensor
    label: Tensor
    cell: Tensor
    peak: Tensor
    logits: Tensor
    code: Tensor


class QueryHead(nn.Module):
    """Queries from the heatmap's peaks, one decoder layer over the map, a box and class scores of each query.

    Args:
        in_channels: channels of the BEV map.
        grid: the map's own grid (at its stride).
        classes: number of classes.
        channels, heads, hidden: of the decoder layer (TransFusion: 128, 8, 256).
        queries: how many (TransFusion: 200 in training, 300 at test).
        crowded: classes so small that two of them may stand in neighbouring cells; every cell may be their query, not
            peaks alone (TransFusion: pedestrian and cone).
        nms_radius_m: as for the centre head; TransFusion needs it for the crowded classes only. None keeps all.
    """

    small: Tensor
    nms_radius_m: Tensor
    position: Tensor

    def __init__(
        self,
        in_channels: int,
        grid: BEVGrid,
        classes: int,
        channels: int = 128,
        heads: int = 8,
        hidden: int = 256,
        queries: int = 200,
        crowded: Sequence[int] = (),
        nms_radius_m: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        _, rows, columns = grid.shape
        if queries > classes * rows * columns:
            raise ValueError(f"{queries} queries are more than the {classes * rows * columns} cells of the heatmap")
        radius = torch.tensor(nms_radius_m or [0.0] * classes, dtype=torch.float32)
        if len(radius) != classes:
            raise ValueError(f"nms_radius_m has {len(radius)} values for {classes} classes")
        self.grid, self.classes, self.queries = grid, classes, queries
        self.shared = conv_norm_relu(in_channels, channels)
        self.heatmap = nn.Sequential(conv_norm_relu(channels, channels), nn.Conv2d(channels, classes, 3, padding=1))
        self.class_embedding = nn.Embedding(classes, channels)
        # Where a query or a key is, learnt from its place on the map (-1..1 along both axes).
        self.query_position = _mlp(2, channels, channels)
        self.key_position = _mlp(2, channels, channels)
        self.decoder = DecoderLayer(channels, heads, hidden)
        self.class_logits = _mlp(channels, channels, classes)
        self.box_code = _mlp(channels, channels, BOX_CHANNELS)
        small = torch.zeros(classes, dtype=torch.bool)
        small[list(crowded)] = True
        self.register_buffer("small", small[:, None, None], persistent=False)
        self.register_buffer("nms_radius_m", radius, persistent=False)
        y, x = torch.meshgrid(
            (torch.arange(rows) + 0.5) / rows * 2 - 1, (torch.arange(columns) + 0.5) / columns * 2 - 1, indexing="ij"
        )
        self.register_buffer("position", torch.stack((x, y), dim=-1).flatten(0, 1), persistent=False)  # [Y*X,2]
        # Start from a score of 0.1 (focal loss, Lin et al., ICCV 2017, section 4.1).
        for last in (self.heatmap[-1], self.class_logits[-1]):
            nn.init.constant_(last.bias, -2.19)  # type: ignore[arg-type]

    def forward(self, bev: Tensor) -> QueryOutput:
        """bev [B,C,Y,X] -> QueryOutput."""
        x = self.shared(bev)
        heatmap = self.heatmap(x)
        label, cell, peak = self._peaks(heatmap)
        keys = x.flatten(2).transpose(1, 2)  # [B,Y*X,C]
        query = keys.gather(1, cell[..., None].expand(-1, -1, keys.shape[-1])) + self.class_embedding(label)
        query = self.decoder(query, keys, self.query_position(self.position[cell]), self.key_position(self.position))
        return QueryOutput(heatmap, label, cell, peak, self.class_logits(query), self.box_code(query))

    def decode(self, output: QueryOutput) -> Detections:
        """One box per query, of the query's class; the score is the query's times the heatmap's."""
        own = output.logits.float().sigmoid().gather(2, output.label[..., None])[..., 0]
        scores, order = (own * output.peak).sort(descending=True)
        labels, cell = output.label.gather(1, order), output.cell.gather(1, order)
        code = output.code.float().gather(1, order[..., None].expand(-1, -1, BOX_CHANNELS))
        columns = self.grid.shape[2]
        boxes = decode_boxes(code, cell % columns, cell // columns, self.grid)
        return Detections(boxes, suppress(boxes, scores, labels, self.nms_radius_m), labels)

    def _peaks(self, heatmap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class [B,Q], flat cell [B,Q] and probability [B,Q] of the best peaks; they pass no gradient, as in the
        paper."""
        scores = heatmap.detach().float().sigmoid()
        peak = (F.max_pool2d(scores, 3, 1, 1) == scores) | self.small
        top, index = torch.where(peak, scores, 0.0).flatten(1).topk(self.queries)
        cells = heatmap.shape[2] * heatmap.shape[3]
        return index // cells, index % cells, top


class DecoderLayer(nn.Module):
    """Self-attention of the queries, cross-attention to the map, feed-forward; each with its residual and norm after
    (DETR, Carion et al., ECCV 2020)."""

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels ({channels}) must be a multiple of heads ({heads})")
        self.self_attention = Attention(channels, heads)
        self.cross_attention = Attention(channels, heads)
        self.feed_forward = _mlp(channels, hidden, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(self, query: Tensor, keys: Tensor, query_position: Tensor, key_position: Tensor) -> Tensor:
        """query [B,Q,C], keys [B,M,C], their positions [B,Q,C] and [M,C] -> [B,Q,C]."""
        q = query + query_position
        query = self.norms[0](query + self.self_attention(q, q, query))
        query = self.norms[1](query + self.cross_attention(query + query_position, keys + key_position, keys))
        out: Tensor = self.norms[2](query + self.feed_forward(query))
        return out


class Attention(nn.Module):
    """Multi-head attention with projections (Vaswani et al., NeurIPS 2017, section 3.2.2)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
        """q [B,Q,C], k and v [B,M,C], and where given which keys each query may see, [B,Q,M] bool -> [B,Q,C]."""
        parts = [
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, x in ((self.q, q), (self.k, k), (self.v, v))
        ]
        mask = None if allowed is None else allowed[:, None]
        attended = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask)
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out


def _mlp(in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out_channels))

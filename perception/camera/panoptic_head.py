"""The panoptic head: which pixels belong to which object or ground, from queries that attend to the image's features.

A plain mask Transformer after Mask2Former (Cheng et al., CVPR 2022): few decoder layers, one map that they attend to,
at each layer attention within the mask that the query found so far. Thing queries start from what the image shows on a
coarse grid, so that they know from the first step where they are; there is one stuff query per stuff class. Beside them
stand the semantic and the embedding branch of Fan et al. (ECCV 2022, arXiv 2210.13950), which make the pseudo masks
(`pseudo_masks`) in training.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.head.query_head import Attention

# A thing's ellipse has half axes of a cell of the query grid, times e to at most this power; and no pixel's logit falls
# by more than this for being outside of it.
MAX_STRETCH, MAX_DISTANCE = 3.0, 20.0
# A class that the semantic branch rules out costs a query's logit at most the logarithm of this.
LEAST_EVIDENCE = 1e-2


class PanopticOutput(NamedTuple):
    """For M images, Q queries (things, then one per stuff class), maps at a quarter of the image's size.

    Attributes:
        semantic: [M,things+stuff,H/4,W/4] class logits.
        embedding: [M,E,H/4,W/4] of length 1.
        masks: [L+1,M,Q,H/4,W/4] mask logits before the first and after every decoder layer.
        classes: [L+1,M,Q_things,things+1] class logits of the thing queries, the last one "no object".
    """

    semantic: Tensor
    embedding: Tensor
    masks: Tensor
    classes: Tensor


class PanopticHead(nn.Module):
    """Masks and classes from the features of every trident branch.

    Args:
        in_channels: channels of the features.
        things, stuff: number of classes of each.
        channels, heads, hidden, layers: of the decoder.
        embedding: channels of the embedding.
        query_grid: rows and columns of the grid of thing queries.
    """

    def __init__(
        self,
        in_channels: int,
        things: int,
        stuff: int,
        channels: int = 64,
        heads: int = 4,
        hidden: int = 128,
        layers: int = 2,
        embedding: int = 16,
        query_grid: tuple[int, int] = (4, 11),
    ) -> None:
        super().__init__()
        self.things, self.stuff, self.query_grid = things, stuff, query_grid
        self.detail = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
            nn.Conv2d(16, channels, 3, 2, padding=1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        self.lateral = nn.Conv2d(in_channels, channels, 1)
        self.joined = nn.Sequential(
            nn.Conv2d(channels + 2, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.semantic = nn.Conv2d(channels, things + stuff, 1)
        self.embedding = nn.Conv2d(channels, embedding, 1)
        self.mask_features = nn.Conv2d(channels, channels, 1)
        self.position = nn.Linear(2, channels)
        self.stuff_query = nn.Parameter(0.1 * torch.randn(stuff, channels))
        self.stuff_position = nn.Parameter(0.1 * torch.randn(stuff, channels))
        self.layers = nn.ModuleList(MaskDecoderLayer(channels, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.mask_code = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels + 1)
        )
        self.classes = nn.Linear(channels, things + 1)
        self.ellipse = nn.Linear(channels, 4)
        nn.init.zeros_(self.ellipse.weight)
        nn.init.zeros_(self.ellipse.bias)
        self.evidence = nn.Parameter(torch.tensor(1.0))

    def forward(self, features: Tensor, images: Tensor) -> PanopticOutput:
        """features [R,M,C,H/8,W/8] of every branch, images [M,3,H,W] normalised."""
        coarse = self.lateral(features.mean(dim=0))
        detail = self.detail(images)
        fine = F.interpolate(coarse, size=detail.shape[-2:], mode="bilinear", align_corners=False) + detail
        place = places(fine.shape[-2], fine.shape[-1], fine).t().unflatten(1, fine.shape[-2:])
        joined = self.joined(torch.cat((F.relu(fine), place.expand(len(fine), -1, -1, -1)), dim=1))
        mask_features = self.mask_features(joined)
        semantic = self.semantic(joined)
        shown = self._shown(semantic)

        keys = coarse.flatten(2).transpose(1, 2)
        key_position = self.position(places(coarse.shape[-2], coarse.shape[-1], coarse))
        things = F.adaptive_avg_pool2d(coarse, self.query_grid).flatten(2).transpose(1, 2)
        query = torch.cat((things, self.stuff_query.expand(len(coarse), -1, -1)), dim=1)
        query_position = torch.cat((self.position(places(*self.query_grid, coarse)), self.stuff_position))
        masks, classes = self._predict(query, mask_features, shown)
        all_masks, all_classes = [masks], [classes]
        for layer in self.layers:
            allowed = F.interpolate(masks.detach(), size=coarse.shape[-2:], mode="bilinear", align_corners=False) > 0
            allowed = allowed.flatten(2)
            allowed = allowed | ~allowed.any(dim=2, keepdim=True)  # an empty mask sees everything
            query = layer(query, keys, query_position, key_position, allowed)
            masks, classes = self._predict(query, mask_features, shown)
            all_masks.append(masks)
            all_classes.append(classes)
        embedding = F.normalize(self.embedding(joined).float(), dim=1)
        return PanopticOutput(semantic, embedding, torch.stack(all_masks), torch.stack(all_classes))

    def _shown(self, semantic: Tensor) -> Tensor:
        """How likely each pixel shows each thing class, or none of them: [M,things+1,h,w] of the semantic branch."""
        likely = semantic.detach().float().softmax(dim=1)
        return torch.cat((likely[:, : self.things], likely[:, self.things :].sum(dim=1, keepdim=True)), dim=1)

    def _predict(self, query: Tensor, mask_features: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits [M,Q,h,w] and class logits [M,Q_things,things+1] of queries [M,Q,C].

        What the semantic branch shows within a query's mask is evidence of its class, which it learns far sooner than
        the queries do (mask pooling, as open-vocabulary segmenters class their masks: Ghiasi et al., ECCV 2022).
        """
        query = self.norm(query)
        code = self.mask_code(query)
        masks = torch.einsum("mqc,mchw->mqhw", code[..., :-1], mask_features) + code[..., -1, None, None]
        things = query[:, : -self.stuff]
        far = self._distance(things, (masks.shape[-2], masks.shape[-1]))
        thing_masks = masks[:, : -self.stuff] - far
        inside = thing_masks.detach().float().sigmoid().flatten(2)
        inside = inside / inside.sum(dim=2, keepdim=True).clamp(min=1e-6)
        pooled = inside @ shown.flatten(2).transpose(1, 2)
        classes = self.classes(things) + self.evidence * (pooled + LEAST_EVIDENCE).log()
        return torch.cat((thing_masks, masks[:, -self.stuff :]), dim=1), classes

    def _distance(self, things: Tensor, size: tuple[int, int]) -> Tensor:
        """How far every pixel is from the middle of each thing query's ellipse, squared, in its half axes:
        [M,Q_things,h,w] float32, from the queries [M,Q_things,C].

        Two objects that look alike differ by where they are, and a product of features does not know that well (SOLO,
        Wang et al., ECCV 2020; CondInst, Tian et al., ECCV 2020, tells masks the same by relative coordinates).
        """
        shift, stretch = self.ellipse(things).float().chunk(2, dim=-1)
        cell = shift.new_tensor((2 / self.query_grid[1], 2 / self.query_grid[0]))  # of the query grid, x and y
        middle = places(*self.query_grid, shift) + cell * shift
        axes = cell * stretch.clamp(-MAX_STRETCH, MAX_STRETCH).exp()
        rows, columns = size
        x = places(1, columns, shift)[:, 0]
        y = places(rows, 1, shift)[:, 1]
        across = ((x - middle[..., :1]) / axes[..., :1]) ** 2
        down = ((y - middle[..., 1:]) / axes[..., 1:]) ** 2
        return (down[..., :, None] + across[..., None, :]).clamp(max=MAX_DISTANCE)


class MaskDecoderLayer(nn.Module):
    """Cross-attention within each query's mask, self-attention, feed-forward (Mask2Former, section 3.2)."""

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.cross_attention = Attention(channels, heads)
        self.self_attention = Attention(channels, heads)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(
        self, query: Tensor, keys: Tensor, query_position: Tensor, key_position: Tensor, allowed: Tensor
    ) -> Tensor:
        """query [M,Q,C], keys [M,K,C], their positions [Q,C] and [K,C], allowed [M,Q,K] bool -> [M,Q,C]."""
        attended = self.cross_attention(query + query_position, keys + key_position, keys, allowed)
        query = self.norms[0](query + attended)
        q = query + query_position
        query = self.norms[1](query + self.self_attention(q, q, query))
        out: Tensor = self.norms[2](query + self.feed_forward(query))
        return out


def places(rows: int, columns: int, like: Tensor) -> Tensor:
    """Centres [rows*columns,2] of a grid's cells (x, y), -1..1 over the image, with the type and device of `like`."""
    y = (torch.arange(rows, device=like.device, dtype=like.dtype) + 0.5) / rows * 2 - 1
    x = (torch.arange(columns, device=like.device, dtype=like.dtype) + 0.5) / columns * 2 - 1
    return torch.stack((x.expand(rows, -1), y[:, None].expand(-1, columns)), dim=-1).flatten(0, 1)


class Segments(NamedTuple):
    """One image cut into segments.

    Attributes:
        segment: [H,W] int64, the row of each pixel's segment in `label`; -1 where there is none.
        label: [S] int64 class (things first, then stuff).
        score: [S] float32.
    """

    segment: Tensor
    label: Tensor
    score: Tensor


@torch.no_grad()
def merge_masks(
    output: PanopticOutput,
    image_hw: tuple[int, int],
    score_threshold: float = 0.2,
    kept_share: float = 0.6,
    min_pixels: int = 16,
) -> list[Segments]:
    """Every image's segments: a pixel goes to the query of the highest score times mask probability (MaskFormer).

    Args:
        image_hw: rows and columns of the result.
        score_threshold: thing queries below it are left out.
        kept_share: a thing that keeps less than this share of its mask against the others is left out.
        min_pixels: smaller segments are left out.
    """
    masks, classes = output.masks[-1].float(), output.classes[-1].float().softmax(dim=-1)
    things, out = classes.shape[-1] - 1, []
    score, label = classes[..., :-1].max(dim=-1)
    stuff = masks.shape[1] - score.shape[1]
    for mask, own_score, own_label in zip(masks, score, label, strict=True):
        kept = (own_score > score_threshold).nonzero().flatten()
        rows = torch.cat((kept, torch.arange(len(own_score), len(mask), device=mask.device)))
        labels = torch.cat((own_label[kept], torch.arange(things, things + stuff, device=mask.device)))
        scores = torch.cat((own_score[kept], own_score.new_ones(stuff)))
        probability = F.interpolate(mask[rows][None], size=image_hw, mode="bilinear", align_corners=False)[0].sigmoid()
        winner = (probability * scores[:, None, None]).argmax(dim=0)
        segment = torch.full(image_hw, -1, dtype=torch.int64, device=mask.device)
        chosen: list[int] = []
        for i in range(len(rows)):
            own = winner == i
            covered = (probability[i] > 0.5).sum()
            thing = i < len(kept)
            if thing:
                own = own & (probability[i] > 0.5)
            size = own.sum()
            if size < min_pixels or (thing and size < kept_share * covered):
                continue
            segment[own] = len(chosen)
            chosen.append(i)
        out.append(Segments(segment, labels[chosen], scores[chosen]))
    return out

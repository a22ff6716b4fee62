"""Pseudo masks from points: each pixel goes to the labelled point that it reaches at the least traversing cost.

Fan, Zhang, Tan, "Pointly-Supervised Panoptic Segmentation" (ECCV 2022, arXiv 2210.13950), section 3: a step
between neighbouring pixels costs what they differ in semantics, in the image's low-level boundaries, and in the learned
embedding. Here the three differences of a step are added, with a small cost of its length, so that even ground is
shared by distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.ops.least_cost_paths import EDGES, least_cost_paths


@dataclass(frozen=True)
class CostWeights:
    """Weights of a step's three terms, each in 0..1 before; zero switches one off. `length` is per pixel gone."""

    semantic: float = 1.0
    boundary: float = 1.0
    embedding: float = 1.0
    length: float = 0.02


class Targets(NamedTuple):
    """What an image's masks should be.

    Attributes:
        labels: [T] int64 class of every target.
        map: [h,w] int64, the target of every pixel; -1: unknown.
    """

    labels: Tensor
    map: Tensor


def neighbour_pairs(values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """values [...,h,w] at both ends of every edge, in the order of EDGES: [...,h,w] each.

    Beyond the border stands the border again.
    """
    height, width = values.shape[-2:]
    padded = F.pad(values.flatten(0, -3)[None], (1, 1, 0, 1), mode="replicate")[0].unflatten(0, values.shape[:-2])
    return [(values, padded[..., down : down + height, 1 + right : 1 + right + width]) for down, right in EDGES]


@torch.no_grad()
def step_costs(semantic: Tensor, colour: Tensor, embedding: Tensor, weights: CostWeights) -> Tensor:
    """Costs [M,4,h,w] float32 of the steps, as least_cost_paths takes them.

    Args:
        semantic: [M,classes,h,w] logits.
        colour: [M,3,h,w] of the image, 0..1.
        embedding: [M,E,h,w] of length 1.
        weights: of the terms.
    """
    length = colour.new_tensor([(down**2 + right**2) ** 0.5 for down, right in EDGES])
    cost = (weights.length * length)[None, :, None, None].expand(len(colour), -1, *colour.shape[-2:]).clone()
    if weights.semantic > 0:
        differences = [(a - b).abs().sum(dim=1) / 2 for a, b in neighbour_pairs(semantic.float().softmax(dim=1))]
        cost += weights.semantic * torch.stack(differences, dim=1)
    if weights.boundary > 0:
        differences = [(a - b).abs().amax(dim=1) for a, b in neighbour_pairs(colour)]
        cost += weights.boundary * torch.stack(differences, dim=1)
    if weights.embedding > 0:
        differences = [(a - b).norm(dim=1) / 2 for a, b in neighbour_pairs(embedding.float())]
        cost += weights.embedding * torch.stack(differences, dim=1)
    return cost


@torch.no_grad()
def pseudo_masks(costs: Tensor, points: list[Tensor]) -> list[Targets]:
    """Targets of every image from its points.

    Args:
        costs: [M,4,h,w] of `step_costs`.
        points: one [P,4] int64 per image: row, column (of the map), class, target. All points of a target have its
            class; targets are numbered from 0 without a gap. An image without points has no targets.
    """
    rows = [F.pad(p[:, :2], (1, 0), value=image) for image, p in enumerate(points)]
    _, nearest = least_cost_paths(costs, torch.cat(rows))
    out, first = [], 0
    for near, own in zip(nearest, points, strict=True):
        count = int(own[:, 3].max()) + 1 if len(own) else 0
        labels = own.new_zeros(count)
        labels[own[:, 3]] = own[:, 2]
        target = torch.cat((own[:, 3], own.new_tensor([-1])))  # the last for what no point reaches
        out.append(Targets(labels, target[torch.where(near < 0, len(own), near.long() - first)]))
        first += len(own)
    return out


def mask_iou(found: Targets, truth: Targets) -> Tensor:
    """IoU [T] of each target's mask with the true one of the same number, over pixels whose truth is known."""
    known = truth.map >= 0
    count = len(truth.labels)
    a, b = found.map[known], truth.map[known]
    shared = torch.bincount(b[a == b], minlength=count)
    both = torch.bincount(a[a >= 0], minlength=count) + torch.bincount(b, minlength=count) - shared
    return shared / both.clamp(min=1)

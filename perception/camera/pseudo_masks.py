"""Pseudo masks from points: each pixel goes to the labelled point that it reaches at the least traversing cost.

Fan, Zhang, Tan, "Pointly-Supervised Panoptic Segmentation" (ECCV 2022, arXiv 2210.13950), section 3: a step
between neighbouring pixels costs what they differ in semantics, in the image's low-level boundaries, and in the learned
embedding. The three differences of a step are added, with a small cost of its length, so that even ground is shared by
distance. The embedding's is the cosine distance, as in the authors' code: a norm's noise would add up along a path. How
unlikely the point's class is at the pixel counts, too. The authors' code has that as a product of nearness and
probability, for things; stuff it takes from the semantic branch alone, wherever that is sure. Here stuff has paths,
too, which cost so much at most (`CostWeights.stuff_reach`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.ops.least_cost_paths import EDGES, least_cost_paths


@dataclass(frozen=True)
class CostWeights:
    """Weights of a step's three terms, each in 0..1 before; zero switches one off. `length` is per pixel gone.

    `class_likelihood` weighs -log of the class's probability at a path's end; it belongs to the semantic term.
    A path to stuff costs at most `stuff_reach`, which longer ones approach: an object is one piece, but buildings stand
    on both sides of the road, and one point is on one of them.
    """

    semantic: float = 1.0
    boundary: float = 2.0
    embedding: float = 4.0
    length: float = 0.02
    class_likelihood: float = 0.25
    stuff_reach: float = 3.0


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
        differences = [(1 - (a * b).sum(dim=1)).clamp(min=0) / 2 for a, b in neighbour_pairs(embedding.float())]
        cost += weights.embedding * torch.stack(differences, dim=1)
    return cost


def class_costs(semantic: Tensor, weights: CostWeights) -> Tensor:
    """Costs [M,classes,h,w] of a pixel to be of a class, of logits of that shape; zero without the semantic term."""
    weight = weights.class_likelihood if weights.semantic > 0 else 0.0
    return -weight * semantic.float().log_softmax(dim=1)


def known_classes(semantic: Tensor, points: list[Tensor]) -> Tensor:
    """The logits [M,classes,h,w] without the classes that no point of the image has: all its targets are labelled."""
    known = torch.zeros(semantic.shape[:2], dtype=torch.bool, device=semantic.device)
    for image, own in zip(known, points, strict=True):
        image[own[:, 2]] = True
    absent = ~known & known.any(dim=1, keepdim=True)
    return semantic.masked_fill(absent[..., None, None], -1e4)


@torch.no_grad()
def pseudo_masks(
    costs: Tensor,
    points: list[Tensor],
    of_class: Tensor | None = None,
    things: int | None = None,
    stuff_reach: float = math.inf,
) -> list[Targets]:
    """Targets of every image from its points.

    Args:
        costs: [M,4,h,w] of `step_costs`.
        points: one [P,4] int64 per image: row, column (of the map), class, target. All points of a target have its
            class; targets are numbered from 0 without a gap. An image without points has no targets.
        of_class: [M,classes,h,w] of `class_costs`; None: no pixel prefers a class.
        things: classes from this one on are stuff, whose paths cost at most `stuff_reach`; None: all are things.
    """
    # One search per image and class: within a class its nearest point wins, among classes the least sum.
    kinds, searched, sources, searches = [], [], [], 0
    for image, own in enumerate(points):
        kind, place = own[:, 2].unique(return_inverse=True)
        kinds.append(kind)
        searched.append(own.new_full((len(kind),), image))
        sources.append(torch.cat((searches + place[:, None], own[:, :2]), dim=1))
        searches += len(kind)
    distance, nearest = least_cost_paths(costs[torch.cat(searched)], torch.cat(sources))
    out, search, point = [], 0, 0
    for image, (own, kind) in enumerate(zip(points, kinds, strict=True)):
        count = int(own[:, 3].max()) + 1 if len(own) else 0
        labels = own.new_zeros(count)
        labels[own[:, 3]] = own[:, 2]
        index = own.new_full(costs.shape[-2:], -1)
        if count:
            total, near = (values[search : search + len(kind)] for values in (distance, nearest))
            if things is not None and stuff_reach < math.inf:
                # Still growing where it levels off, so that two kinds of stuff share what is far from both by distance.
                near_stuff = -stuff_reach * torch.expm1(-total / stuff_reach)
                total = torch.where((kind >= things)[:, None, None], near_stuff, total)
            if of_class is not None:
                total = total + of_class[image, kind]
            least, winner = total.min(dim=0)
            near = near.gather(0, winner[None])[0].long()
            index = torch.where(least.isfinite(), own[(near - point).clamp(min=0), 3], -1)
        out.append(Targets(labels, index))
        search, point = search + len(kind), point + len(own)
    return out


def mask_iou(found: Targets, truth: Targets) -> Tensor:
    """IoU [T] of each target's mask with the true one of the same number, over pixels whose truth is known."""
    known = truth.map >= 0
    count = len(truth.labels)
    a, b = found.map[known], truth.map[known]
    shared = torch.bincount(b[a == b], minlength=count)
    both = torch.bincount(a[a >= 0], minlength=count) + torch.bincount(b, minlength=count) - shared
    return shared / both.clamp(min=1)

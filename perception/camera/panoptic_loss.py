"""Losses of the panoptic head: from points through pseudo masks, or from true masks.

Fan et al. (ECCV 2022, arXiv 2210.13950), section 3; the mask losses are Mask2Former's (Cheng et al., CVPR 2022), over
whole masks in place of sampled points.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.camera.panoptic_head import PanopticOutput
from perception.camera.pseudo_masks import (
    CostWeights,
    Targets,
    class_costs,
    known_classes,
    mask_iou,
    neighbour_pairs,
    pseudo_masks,
    step_costs,
)

Matcher = Callable[[Tensor], tuple[Tensor, Tensor]]

# Mask2Former's weights of class, binary cross-entropy and Dice, in the loss and in the matching cost.
CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT = 2.0, 5.0, 5.0
NO_OBJECT_WEIGHT = 0.1
TEMPERATURE = 0.1  # of the contrast


class PanopticLoss(nn.Module):
    """Losses by name, for a batch of images.

    Args:
        matcher: the assignment (perception.engine.matching.hungarian).
        costs: weights of the pseudo masks' terms.
        warm_up_steps: over so many steps what is learnt from pseudo masks grows to its weight.
        colour_similarity: neighbours count as alike from this exp(-2 |colour difference|) on (BoxInst, Tian et al.,
            CVPR 2021: 0.3, of another scale).
        prior_weight, contrast_weight: of the colour prior and the contrast.
        semantic_weight: of the semantic branch, which the pseudo masks and the queries' classes wait for: the queries'
            losses add up to some sixteen, and it learns slowly beside them.
    """

    steps: Tensor

    def __init__(
        self,
        matcher: Matcher,
        costs: CostWeights | None = None,
        warm_up_steps: int = 100,
        colour_similarity: float = 0.9,
        prior_weight: float = 0.5,
        contrast_weight: float = 0.5,
        semantic_weight: float = 4.0,
    ) -> None:
        super().__init__()
        self.matcher, self.costs = matcher, costs or CostWeights()
        self.warm_up_steps, self.colour_similarity = warm_up_steps, colour_similarity
        self.prior_weight, self.contrast_weight = prior_weight, contrast_weight
        self.semantic_weight = semantic_weight
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # in the checkpoint: a resumed run goes on

    def forward(
        self,
        output: PanopticOutput,
        images: Tensor,  # [M,3,H,W] 0..255
        points: list[Tensor],
        truth: list[Targets | None],
        from_truth: bool = False,
    ) -> dict[str, Tensor]:
        """Losses of what the head put out, and the pseudo masks' mean IoU with the truth where that is known.

        Args:
            points: one [P,4] int64 per image as `pseudo_masks` takes them, at the maps' size.
            truth: of every image at the maps' size, its targets numbered as the points'; or None.
            from_truth: learn from the truth in place of the points (full supervision).
        """
        # In float32: sums over a map's pixels are too long for bfloat16, and shapes change with the number of targets.
        with torch.autocast(images.device.type, enabled=False):
            return self._losses(output, images, points, truth, from_truth)

    def _losses(
        self,
        output: PanopticOutput,
        images: Tensor,
        points: list[Tensor],
        truth: list[Targets | None],
        from_truth: bool,
    ) -> dict[str, Tensor]:
        map_hw = (output.semantic.shape[-2], output.semantic.shape[-1])
        colour = F.adaptive_avg_pool2d(images.float(), map_hw) / 255
        losses: dict[str, Tensor] = {}
        if from_truth:
            targets = [own for own in truth if own is not None]
            if len(targets) != len(truth):
                raise ValueError("full supervision needs the true masks of every image")
            share = 1.0
            losses["loss_semantic"] = self.semantic_weight * _dense_loss(output.semantic, targets)
        else:
            semantic = known_classes(output.semantic.detach(), points)
            costs = step_costs(semantic, colour, output.embedding.detach(), self.costs)
            things = output.classes.shape[-1] - 1
            targets = pseudo_masks(costs, points, class_costs(semantic, self.costs), things, self.costs.stuff_reach)
            share = min(1.0, (int(self.steps) + 1) / max(self.warm_up_steps, 1))
            losses["loss_semantic"] = self.semantic_weight * point_loss(output.semantic, points, things)
            losses["loss_prior"] = self.prior_weight * colour_prior(output.semantic, colour, self.colour_similarity)
            overlaps = [mask_iou(a, b) for a, b in zip(targets, truth, strict=True) if b is not None]
            if overlaps:
                losses["pseudo_miou"] = torch.cat(overlaps).mean().nan_to_num(0.0)
        losses["loss_contrast"] = share * self.contrast_weight * contrast(output.embedding, targets, points)
        losses |= {name: share * loss for name, loss in self._query_losses(output, targets).items()}
        if self.training:
            self.steps += 1
        return losses

    def _query_losses(self, output: PanopticOutput, targets: list[Targets]) -> dict[str, Tensor]:
        """Class and mask losses, summed over the predictions of every layer; zero without a single target."""
        things = output.classes.shape[-1] - 1
        queries = output.classes.shape[2]
        total = output.masks.float().sum() * 0.0
        losses = {"loss_class": total, "loss_mask": total, "loss_dice": total}
        weight = output.classes.new_ones(things + 1, dtype=torch.float32)
        weight[-1] = NO_OBJECT_WEIGHT
        for masks, classes in zip(output.masks.float(), output.classes.float(), strict=True):
            wanted_class = torch.full(classes.shape[:2], things, device=classes.device)
            logits, wanted, known = [], [], []
            for image, target in enumerate(targets):
                if not len(target.labels):
                    continue
                inside = (target.map >= 0).flatten()
                thing = (target.labels < things).nonzero().flatten()
                all_masks = F.one_hot(target.map.flatten() + 1, len(target.labels) + 1).t()[1:].float()
                row, column = self._match(masks[image, :queries].flatten(1), classes[image], target, thing, all_masks)
                wanted_class[image, row] = target.labels[column]
                ground = (target.labels >= things).nonzero().flatten()
                # A stuff query without a target in this image has an empty mask.
                stuff_masks = all_masks.new_zeros(masks.shape[1] - queries, all_masks.shape[1])
                stuff_masks[target.labels[ground] - things] = all_masks[ground]
                logits += [masks[image, row].flatten(1), masks[image, queries:].flatten(1)]
                wanted += [all_masks[column], stuff_masks]
                known += [inside.expand(len(row) + len(stuff_masks), -1)]
            if not logits:
                continue
            x, y, counts = torch.cat(logits), torch.cat(wanted), torch.cat(known).float()
            losses["loss_class"] = losses["loss_class"] + CLASS_WEIGHT * F.cross_entropy(
                classes.flatten(0, 1), wanted_class.flatten(), weight
            )
            cross_entropy = F.binary_cross_entropy_with_logits(x, y, reduction="none")
            bce = (cross_entropy * counts).sum(1) / counts.sum(1).clamp(min=1)
            losses["loss_mask"] = losses["loss_mask"] + MASK_WEIGHT * bce.mean()
            present = y.sum(1) > 0
            dice = 1 - _dice(x.sigmoid() * counts, y)
            losses["loss_dice"] = losses["loss_dice"] + DICE_WEIGHT * dice[present].sum() / present.sum().clamp(min=1)
        return losses

    @torch.no_grad()
    def _match(
        self, masks: Tensor, classes: Tensor, target: Targets, thing: Tensor, all_masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Thing query and target of every matched pair; masks [Q,h*w] logits, classes [Q,things+1] logits."""
        wanted, known = all_masks[thing], (target.map >= 0).flatten().float()
        probability = masks.sigmoid() * known
        pixels = known.sum().clamp(min=1)
        positive, negative = F.softplus(-masks) * known, F.softplus(masks) * known
        cross_entropy = (positive @ wanted.t() + negative @ (1 - wanted).t()) / pixels
        shared = 2 * probability @ wanted.t() + 1
        dice = 1 - shared / (probability.sum(1)[:, None] + wanted.sum(1) + 1)
        likely = classes.softmax(dim=-1)[:, target.labels[thing]]
        row, column = self.matcher(MASK_WEIGHT * cross_entropy + DICE_WEIGHT * dice - CLASS_WEIGHT * likely)
        return row, thing[column]


def _dice(probability: Tensor, wanted: Tensor) -> Tensor:
    """Dice coefficient [N] of masks [N,P] (Milletari et al., 3DV 2016), with Mask2Former's one in both sums."""
    return (2 * (probability * wanted).sum(1) + 1) / (probability.sum(1) + wanted.sum(1) + 1)


def _dense_loss(semantic: Tensor, targets: list[Targets]) -> Tensor:
    """Cross-entropy over all pixels whose target is known."""
    unknown = -100
    labels = [torch.cat((t.labels, t.labels.new_tensor([unknown])))[t.map] for t in targets]
    wanted = torch.stack(labels)
    total = F.cross_entropy(semantic.float(), wanted, ignore_index=unknown, reduction="sum")
    return total / (wanted != unknown).sum().clamp(min=1)


def point_loss(semantic: Tensor, points: list[Tensor], things: int) -> Tensor:
    """Partial cross-entropy: over the labelled points alone; zero without a point. Points as in `pseudo_masks`.

    Points of things and of stuff weigh as much in sum: by their number things would fill the picture, which is mostly
    stuff.
    """
    logits = torch.cat([s[:, p[:, 0], p[:, 1]].t() for s, p in zip(semantic.float(), points, strict=True)])
    labels = torch.cat([p[:, 2] for p in points])
    each = F.cross_entropy(logits, labels, reduction="none")
    parts = [each[kind] for kind in (labels < things, labels >= things) if kind.any()]
    return torch.stack([part.mean() for part in parts]).mean() if parts else logits.sum()


def colour_prior(semantic: Tensor, colour: Tensor, least_similarity: float) -> Tensor:
    """Neighbours of like colour are of one class: -log of the probability that they are, over such pairs.

    semantic [M,classes,h,w] logits, colour [M,3,h,w] 0..1. (BoxInst's pairwise term, which the paper takes.)
    """
    probabilities = neighbour_pairs(semantic.float().softmax(dim=1))
    losses, counts = [], []
    for (a, b), (first, second) in zip(probabilities, neighbour_pairs(colour), strict=True):
        alike = torch.exp(-2 * (first - second).norm(dim=1)) >= least_similarity
        losses.append((-(a * b).sum(dim=1).clamp(min=1e-6).log() * alike).sum())
        counts.append(alike.sum())
    return torch.stack(losses).sum() / torch.stack(counts).sum().clamp(min=1)


def contrast(embedding: Tensor, targets: list[Targets], points: list[Tensor]) -> Tensor:
    """Labelled points are drawn to their target's mean embedding and away from others' (InfoNCE, van den Oord, 2018).

    embedding [M,E,h,w] of length 1, points as in `pseudo_masks`. Only they are sure to be of their target: were every
    pixel of a pseudo mask drawn to its mean, its errors would be learnt by heart. The authors' code draws them alone.
    Images with fewer than two targets have nothing to tell apart.
    """
    losses = []
    for own, target, labelled in zip(embedding, targets, points, strict=True):
        index = target.map.flatten()
        known = index >= 0
        pixels = own.flatten(1).t()
        count = torch.bincount(index[known], minlength=len(target.labels))
        labelled = labelled[count[labelled[:, 3]] > 0]  # a small target's mask can be empty
        if not len(labelled) or (count > 0).sum() < 2:
            continue
        sums = pixels.new_zeros(len(count), pixels.shape[1]).index_add(0, index[known], pixels[known])
        means = F.normalize(sums, dim=1)
        anchors = own[:, labelled[:, 0], labelled[:, 1]].t()
        logits = (anchors @ means.t() / TEMPERATURE).masked_fill(count == 0, -1e4)
        losses.append(F.cross_entropy(logits, labelled[:, 3]))
    return torch.stack(losses).mean() if losses else embedding.sum() * 0.0

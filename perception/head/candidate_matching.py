"""Which objects a detector's candidates are of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.head.center_head import Detections

# Centre distances within which nuScenes counts a detection (Caesar et al., CVPR 2020, section 3.1), and the one whose
# pairs' errors it takes.
MATCH_DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
PAIRING_M = 2.0
# A crop shows the object that a candidate is this near to (m), whatever its class, and none from that far on.
SHOWN_M, ALONE_M = 1.0, 3.0


class Matches(NamedTuple):
    """Attributes:
    shares: [B,K] float32, the share of MATCH_DISTANCES_M within which a candidate's centre is from the nearest object
        of its class. Of the candidates that are nearest to one object the best counts, the others have zero.
    boxes: [B,K,9], that nearest object's; the candidate's own where there is none.
    paired: [B,K] bool, whether it is within PAIRING_M.
    """

    shares: Tensor
    boxes: Tensor
    paired: Tensor


@torch.no_grad()
def shown_classes(
    found: Tensor,  # [B,K,9], LiDAR frame
    boxes: Tensor,  # [G,9], LiDAR frame
    labels: Tensor,  # [G] int64
    sample: Tensor,  # [G] int64
    classes: int,
) -> Tensor:
    """What is to be seen where boxes were found, [B,K] int64: the class of the nearest object, `classes` far from all,
    -1 between."""
    gap = torch.linalg.vector_norm(found[:, :, None, :2] - boxes[:, :2], dim=-1)  # [B,K,G]
    own = sample == torch.arange(found.shape[0], device=boxes.device)[:, None, None]
    distance, nearest = _nearest(gap.masked_fill(~own, torch.inf))
    shown = F.pad(labels, (0, 1), value=classes)[nearest]
    return torch.where(distance < SHOWN_M, shown, torch.where(distance > ALONE_M, classes, -1))


@torch.no_grad()
def match_candidates(
    found: Detections,
    boxes: Tensor,  # [G,9], LiDAR frame
    labels: Tensor,  # [G] int64
    sample: Tensor,  # [G] int64
) -> Matches:
    """The object that each candidate is nearest to."""
    batch, count = found.scores.shape
    device = boxes.device
    gap = torch.linalg.vector_norm(found.boxes[:, :, None, :2] - boxes[:, :2], dim=-1)  # [B,K,G]
    own = (found.labels[..., None] == labels) & (sample == torch.arange(batch, device=device)[:, None, None])
    distance, nearest = _nearest(gap.masked_fill(~own, torch.inf))
    matched = (distance < MATCH_DISTANCES_M[-1]) & (found.scores > 0)
    which = torch.where(matched, nearest, len(boxes))
    # Candidates come by descending score.
    rank = torch.arange(count, device=device).expand(batch, count)
    first = torch.full((len(boxes) + 1,), count, device=device)
    first = first.scatter_reduce(0, which.flatten(), rank.flatten(), "amin")
    within = (distance[..., None] < distance.new_tensor(MATCH_DISTANCES_M)).float().mean(dim=-1)
    objects = F.pad(boxes, (0, 0, 0, 1))[which]
    return Matches(
        within * (matched & (first[which] == rank)),
        torch.where(matched[..., None], objects, found.boxes),
        matched & (distance < PAIRING_M),
    )


def _nearest(gap: Tensor) -> tuple[Tensor, Tensor]:
    """Distances [B,K] and numbers [B,K] of the nearest of G objects at gaps [B,K,G]; infinity and G where there is
    none."""
    distance, nearest = F.pad(gap, (0, 1), value=torch.inf).min(dim=-1)
    return distance, nearest

"""Which class each feature cell shows, learnt from LiDAR points inside boxes, and lifted with the features.

A class that the LiDAR confuses and colour separates is told by the image; painting the BEV map with what each pixel
shows (the idea of PointPainting, Vora et al., CVPR 2020, here inside Lift-Splat) brings that to the detector, and
supervision in the image reaches the backbone without the detour over depth and BEV.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.camera.lift import MeasuredCells
from perception.head.object_count import mean_over_processes, object_count
from perception.ops.points_in_boxes import points_in_boxes


class SemanticHead(nn.Module):
    """Class logits per feature cell; the last one is background.

    Args:
        in_channels: channels of the image features.
        classes: object classes.
        background_weight: weight of background cells in the loss; most cells are background.
    """

    def __init__(self, in_channels: int, classes: int, background_weight: float = 0.2) -> None:
        super().__init__()
        self.classes, self.background_weight = classes, background_weight
        self.logits = nn.Conv2d(in_channels, classes + 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """features [R,B,N,C,h,w] of every branch -> logits [B,N,classes+1,h,w]."""
        mean = features.mean(dim=0)
        out: Tensor = self.logits(mean.flatten(0, 1))
        return out.unflatten(0, mean.shape[:2])

    def loss(self, logits: Tensor, labels: Tensor, camera_mask: Tensor) -> Tensor:
        """Weighted cross-entropy over the cells whose label is known; zero when none is.

        logits [B,N,classes+1,h,w]; labels [B,N,h,w] int64 as `cell_labels` gives them; camera_mask [B,N] bool.
        """
        known = (labels >= 0) & camera_mask[:, :, None, None]
        # A bus fills a hundred times the cells of a cone: each class counts by the root of its cells in all processes.
        cells = torch.zeros(self.classes + 1, device=labels.device)
        cells = cells.index_add(0, labels.clamp(min=0).flatten(), known.flatten().float())
        of_class = mean_over_processes(cells).clamp(min=1e-6).rsqrt()  # what no process sees weighs nothing anyway
        of_class[-1] *= self.background_weight
        weight = of_class[labels.clamp(min=0)] * known
        losses = F.cross_entropy(logits.float().flatten(0, 1), labels.clamp(min=0).flatten(0, 1), reduction="none")
        return (losses * weight.flatten(0, 1)).sum() / object_count(weight.sum(), losses.device)


@torch.no_grad()
def cell_labels(
    measured: MeasuredCells,
    points: Tensor,  # [P,5] float32
    boxes: Tensor,  # [K,9] float32, LiDAR frame
    labels: Tensor,  # [K] int64
    sample: Tensor,  # [K] int64
    classes: int,
) -> Tensor:  # [B,N,h,w] int64
    """Class of the box that a cell's nearest point lies in, `classes` where it lies in none, -1 without a point."""
    out = torch.full_like(measured.point, -1)
    for b in range(out.shape[0]):
        seen = measured.point[b] >= 0
        own = sample == b
        box = points_in_boxes(points[measured.point[b][seen], :3].contiguous(), boxes[own, :7].contiguous())
        names = torch.cat((labels[own], labels.new_tensor([classes])))
        out[b, seen] = names[box]  # box -1, no box, is the last
    return out

"""The trident 2D head: objects in the pictures, each branch for its own range of sizes. It trains the camera branch.

3D boxes say where every object is in every picture. Learning that directly reaches the backbone without the detour
over depth and bird's-eye view, and branch by branch: scale-aware training (TridentNet, section 3.3), which keeps the
branches for the sizes that the lift weights them by. At inference the head is not run, and a network built without it
is the same detector.

Rectangles are amodal where another object stands before one (its size and depth belong together whole, and a 3D box
does not know what hides it) and cut off at the picture's border (nothing outside is seen; 2D annotations, which the
valid ranges are about, stop there too). An object whose centre a nearer one covers is no target: the pixel shows the
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.camera.image_boxes import ImageBoxes
from perception.head.center_targets import gaussian_focal_loss
from perception.head.object_count import object_count

# Deviation of an object's Gaussian as a share of its width and height (TTFNet, Liu et al., AAAI 2020: 0.54 / 6), and
# the least one, in cells.
GAUSSIAN_SHARE, LEAST_DEVIATION = 0.54 / 6, 0.5
# What an object of another branch's range is in a heatmap at most: no positive, and next to no negative.
IGNORED = 0.999


class ImageHeadOutput(NamedTuple):
    """Attributes:
    heatmap: [R,B,N,classes,h,w] logits of each branch.
    box: [R,B,N,4,h,w]: centre minus the cell's own (x, y, in cells), log of width and height (in cells).
    """

    heatmap: Tensor
    box: Tensor


class ImageTargets(NamedTuple):
    """Attributes:
    heatmap: [B*N,classes,h,w] float32, a Gaussian of height 1 for every object of any size.
    view, label, row, column: [T] int64, where each object's centre is.
    size_px: [T], sqrt(width * height) of its rectangle.
    box: [T,4] float32 regression target.
    """

    heatmap: Tensor
    view: Tensor
    label: Tensor
    row: Tensor
    column: Tensor
    size_px: Tensor
    box: Tensor


class TridentImageHead(nn.Module):
    """Class heatmaps and rectangles, by weights that the branches share.

    Args:
        in_channels: channels of the image features.
        classes: object classes.
        valid_ranges_px: (least, largest) sqrt(w * h) that each branch learns, px of the network's image.
        stride: pixels per feature cell.
        box_weight: weight of the rectangles against the heatmap in the loss (CenterNet's for the size: 0.1 per px at
            stride 4; ours are in log of cells).
    """

    ranges_px: Tensor

    def __init__(
        self,
        in_channels: int,
        classes: int,
        valid_ranges_px: Sequence[tuple[float, float]],
        stride: int = 8,
        box_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.classes, self.stride, self.box_weight = classes, stride, box_weight
        ranges = torch.tensor([tuple(map(float, pair)) for pair in valid_ranges_px])
        self.branches = len(ranges)
        self.register_buffer("ranges_px", ranges, persistent=False)
        self.trunk = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.heatmap = nn.Conv2d(in_channels, classes, 1)
        self.box = nn.Conv2d(in_channels, 4, 1)
        assert self.heatmap.bias is not None
        nn.init.constant_(self.heatmap.bias, -2.19)  # a score of 0.1, as the centre head starts

    def forward(self, features: Tensor) -> ImageHeadOutput:
        """features [R,B,N,C,h,w] of every branch."""
        lead = features.shape[:3]
        x = F.relu(self.trunk(features.flatten(0, 2)))
        return ImageHeadOutput(self.heatmap(x).unflatten(0, lead), self.box(x).unflatten(0, lead))

    def loss(
        self, output: ImageHeadOutput, objects: ImageBoxes, labels: Tensor, sample: Tensor, camera_mask: Tensor
    ) -> dict[str, Tensor]:
        """Losses by name for K objects with labels [K] and sample [K]; camera_mask [B,N] bool."""
        branches, feature_hw = output.heatmap.shape[0], (output.heatmap.shape[-2], output.heatmap.shape[-1])
        target = image_targets(objects, labels, sample, camera_mask, self.classes, feature_hw, self.stride)
        low, high = self.ranges_px[:, :1], self.ranges_px[:, 1:]
        # A branch's positives are the objects of its range; others are in its heatmap as neither.
        branch, which = ((target.size_px >= low) & (target.size_px < high)).nonzero().unbind(1)
        heatmap = target.heatmap.clamp(max=IGNORED).repeat(branches, 1, 1, 1, 1)
        place = (branch, target.view[which], target.label[which], target.row[which], target.column[which])
        heatmap[place] = 1.0
        present = camera_mask.flatten()
        focal = gaussian_focal_loss(output.heatmap.flatten(1, 2)[:, present], heatmap[:, present])
        regressed = output.box.flatten(1, 2)[place[0], place[1], :, place[3], place[4]].float()
        error = (regressed - target.box[which]).abs().sum()
        count = object_count(len(which), error.device)
        return {"loss_image_heatmap": focal / count, "loss_image_box": self.box_weight * error / count}


@torch.no_grad()
def image_targets(
    objects: ImageBoxes,
    labels: Tensor,  # [K] int64
    sample: Tensor,  # [K] int64
    camera_mask: Tensor,  # [B,N] bool
    classes: int,
    feature_hw: tuple[int, int],
    stride: int,
) -> ImageTargets:
    """Targets of every object in every picture that shows its centre."""
    height, width = feature_hw
    views, cameras = camera_mask.numel(), camera_mask.shape[1]
    box, camera = objects.seen.nonzero().unbind(1)
    view, label = sample[box] * cameras + camera, labels[box]
    rectangle, depth = objects.rectangle[box, camera], objects.depth[box, camera]
    # In cells: cell (row, column) covers [column, column + 1) x [row, row + 1).
    rectangle = (rectangle + 0.5) / stride
    centre, size = (rectangle[:, :2] + rectangle[:, 2:]) / 2, rectangle[:, 2:] - rectangle[:, :2]
    inside = ((centre[:, None] > rectangle[:, :2]) & (centre[:, None] < rectangle[:, 2:])).all(dim=-1)
    hidden = inside & (view[:, None] == view) & (depth < depth[:, None])
    # A centre behind the lens is a box that the camera is beside or in.
    kept = ~hidden.any(dim=1) & (depth > 0)
    view, label, centre, size = view[kept], label[kept], centre[kept], size[kept]
    column = centre[:, 0].floor().long().clamp(0, width - 1)
    row = centre[:, 1].floor().long().clamp(0, height - 1)

    deviation = (size * GAUSSIAN_SHARE).clamp(min=LEAST_DEVIATION)
    across = (torch.arange(width, device=size.device) - column[:, None]) / deviation[:, :1]
    down = (torch.arange(height, device=size.device) - row[:, None]) / deviation[:, 1:]
    gaussian = torch.exp(-0.5 * (down[:, :, None] ** 2 + across[:, None] ** 2)).flatten(1)
    heatmap = torch.zeros(views * classes, height * width, device=size.device)
    heatmap.scatter_reduce_(0, (view * classes + label)[:, None].expand_as(gaussian), gaussian, "amax")
    cell_centre = torch.stack((column, row), dim=1) + 0.5
    regression = torch.cat((centre - cell_centre, size.log()), dim=1)
    size_px = size.prod(dim=1).sqrt() * stride
    return ImageTargets(heatmap.view(views, classes, height, width), view, label, row, column, size_px, regression)

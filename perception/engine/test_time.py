"""Test-time augmentation: the same frames seen mirrored and turned, and the detections of all views merged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from perception.head.center_head import Detections, suppress
from perception.model import Frames, PerceptionNetwork


class TestTimeViews:
    """Detects in several views of each frame and merges them box by box.

    Args:
        mirror: also see the world mirrored left to right (y to -y).
        rotations_rad: also see it turned about z by these angles, each with and without the mirror.
        radius_m: boxes of one class whose centres are nearer than this to a better one are that one's other views
            (per class, or one for all).
        classes: number of classes.
    """

    __test__ = False  # not a test case, whatever pytest makes of its name

    def __init__(
        self,
        classes: int,
        mirror: bool = True,
        rotations_rad: Sequence[float] = (),
        radius_m: float | Sequence[float] = 0.5,
    ) -> None:
        radii = [radius_m] * classes if isinstance(radius_m, (int, float)) else list(radius_m)
        if len(radii) != classes:
            raise ValueError(f"radius_m has {len(radii)} values for {classes} classes")
        self.radius_m = torch.tensor(radii, dtype=torch.float32)
        self.views = [(side, angle) for side in ((1.0, -1.0) if mirror else (1.0,)) for angle in (0.0, *rotations_rad)]

    @torch.no_grad()
    def detect(self, network: PerceptionNetwork, frames: Frames) -> Detections:
        """Boxes of every sample, by descending score, as many candidates as the head gives for one view."""
        found = []
        for side, angle in self.views:
            seen = network.detect(view_frames(frames, side, angle))
            found.append(seen._replace(boxes=unview_boxes(seen.boxes, side, angle)))
        return merge_views(found, self.radius_m.to(frames.points.device))


def view_frames(frames: Frames, side: float, angle_rad: float) -> Frames:
    """The frames in a world mirrored (side -1: y to -y), then turned about z. Images stay; their matrices follow."""
    view = _matrix(side, angle_rad, frames.points)
    points = frames.points.clone()
    points[:, :3] = points[:, :3] @ view[:3, :3].T
    return frames._replace(
        points=points, image_from_lidar=frames.image_from_lidar @ view.inverse().to(frames.image_from_lidar.dtype)
    )


def unview_boxes(boxes: Tensor, side: float, angle_rad: float) -> Tensor:
    """Boxes [...,9] found in a view, back in the LiDAR frame."""
    back = _matrix(side, angle_rad, boxes).inverse()[:2, :2]
    yaw = side * (boxes[..., 6:7] - angle_rad)
    yaw = torch.atan2(yaw.sin(), yaw.cos())
    return torch.cat((boxes[..., :2] @ back.T, boxes[..., 2:6], yaw, boxes[..., 7:9] @ back.T), dim=-1)


def merge_views(found: Sequence[Detections], radius_m: Tensor) -> Detections:
    """One box where views agree: its numbers are averaged by score, its score is the mean of the views' best there.

    A view that found nothing there counts with score zero. `radius_m` [classes].
    """
    views, per_view = len(found), found[0].scores.shape[1]
    boxes, scores, labels = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    view = torch.arange(views, device=boxes.device).repeat_interleave(per_view).expand_as(labels)
    scores, order = scores.sort(dim=1, descending=True)
    labels, view = labels.gather(1, order), view.gather(1, order)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 9))

    gap = torch.cdist(boxes[..., :2], boxes[..., :2], compute_mode="donot_use_mm_for_euclid_dist")
    near = (gap < radius_m[labels][..., None]) & (labels[..., None] == labels[..., None, :])
    near |= torch.eye(near.shape[-1], dtype=torch.bool, device=near.device)
    shares = near * scores[:, None]  # [B,M,M]
    best = torch.stack([(shares * (view == v)[:, None]).amax(dim=2) for v in range(views)]).mean(dim=0)
    # Headings are averaged among those that point the same way as the best box's.
    turned = boxes[..., 6][:, None] - boxes[..., 6][..., None]
    aligned = shares * (turned.cos() > 0)
    yaw = boxes[..., 6] + torch.atan2((aligned * turned.sin()).sum(2), (aligned * turned.cos()).sum(2))
    mean = torch.bmm(shares, boxes) / shares.sum(dim=2, keepdim=True).clamp(min=1e-9)
    merged = torch.cat((mean[..., :6], torch.atan2(yaw.sin(), yaw.cos())[..., None], mean[..., 7:]), dim=-1)
    # The best box of a place speaks for it: the others' score is zero.
    kept = torch.where(suppress(boxes, scores, labels, radius_m) > 0, best, 0.0)
    top, order = kept.topk(per_view, dim=1)
    return Detections(merged.gather(1, order[..., None].expand(-1, -1, 9)), top, labels.gather(1, order))


def _matrix(side: float, angle_rad: float, like: Tensor) -> Tensor:
    """view_from_lidar [4,4] float32."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    rows = [[cos, -sin * side, 0, 0], [sin, cos * side, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float32, device=like.device)

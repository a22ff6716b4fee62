"""Point labels of a frame's own pictures, from its LiDAR points and 3D boxes: what the fused detector's panoptic head
learns.

As the tool `create_data.py point-labels` makes them for files, but of the points that the lift has measured already:
the nearest one of every feature cell, so that hidden points are gone. What has no LiDAR point, the sky, is not learnt.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perception.camera.lift import MeasuredCells
from perception.ops.points_in_boxes import points_in_boxes

GROUND_M, STRUCTURE_M = 0.2, 0.8  # heights over the road: at most this, at least that
SLOPE = 0.03  # per metre: how far a road or a mounting leans
GROUND_RANGE_M = 15.0  # farther away, the lean is more than GROUND_M
MARGIN_M = 0.6  # boxes grow by this before what lies outside of them is stuff


@torch.no_grad()
def frame_points(
    measured: MeasuredCells,
    points: Tensor,  # [P,5] float32
    boxes: Tensor,  # [K,9] float32, LiDAR frame
    labels: Tensor,  # [K] int64
    sample: Tensor,  # [K] int64
    things: int,
    lidar_height_m: float = 1.84,
) -> list[Tensor]:
    """One [P,4] int64 per view of the batch, in order: row, column (at twice the cells' resolution), class, target.

    Classes are the boxes', then ground and structure. Targets are numbered without a gap in each view.

    Args:
        measured: of ScaleAwareLift.measure.
        lidar_height_m: of the LiDAR over the road (nuScenes: 1.84).
    """
    out = []
    for b in range(measured.point.shape[0]):
        own = sample == b
        small, kinds = boxes[own, :7].contiguous(), labels[own]
        large = small.clone()
        large[:, 3:6] += 2 * MARGIN_M
        for point in measured.point[b]:
            row, column = (point >= 0).nonzero().unbind(1)
            xyz = points[point[row, column], :3].contiguous()
            inside, about = points_in_boxes(xyz, small), points_in_boxes(xyz, large)
            distance, height = xyz[:, :2].norm(dim=1), xyz[:, 2] + lidar_height_m
            ground = (about < 0) & (height.abs() < GROUND_M) & (distance < GROUND_RANGE_M)
            structure = (about < 0) & (height > STRUCTURE_M + SLOPE * distance)
            # Boxes come first, then the two kinds of stuff.
            target = torch.where(ground, len(kinds), torch.where(structure, len(kinds) + 1, inside.long()))
            kept = target >= 0
            numbers, compact = target[kept].unique(return_inverse=True)
            kind = torch.cat((kinds, kinds.new_tensor([things, things + 1])))[numbers][compact]
            out.append(torch.stack((2 * row[kept], 2 * column[kept], kind, compact), dim=1))
    return out

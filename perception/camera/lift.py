"""Image features into the bird's-eye view: Lift-Splat (Philion & Fidler, ECCV 2020) with a choice of scale per depth.

Each depth bin of each camera weights the trident branches by what they are for (`ScaleChoice`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.camera.rows import placed, present_rows
from perception.camera.scale_choice import ScaleChoice
from perception.geometry.camera import focal_lengths, pixel_centres
from perception.geometry.grid import BEVGrid
from perception.geometry.precision import without_autocast
from perception.geometry.transforms import invert_affine, transform_points
from perception.head.object_count import object_count
from perception.ops.bev_pool import bev_pool, pool_index, repeat_views

# TridentNet's ranges (section 4.2), (0, 90), (30, 160) and from 90, are for images of 800 rows. nuScenes' at a width
# of 704 are half as large, and so are the objects in them.
VALID_RANGES_PX = ((0.0, 45.0), (15.0, 80.0), (45.0, 1e8))


class MeasuredCells(NamedTuple):
    """What the LiDAR's key sweep says of every feature cell.

    Attributes:
        bin: [B,N,h,w] int64, the depth bin of the nearest point in the cell; -1 where there is none.
        point: [B,N,h,w] int64, the row of that point; -1 where there is none.
    """

    bin: Tensor
    point: Tensor


class ScaleAwareLift(nn.Module):
    """Predict depth per pixel, weight the branches per depth, and sum everything into the BEV grid.

    Args:
        in_channels: channels of the image features.
        channels: channels of the BEV map.
        grid: the BEV grid; heights outside its z range are left out.
        depth_range_m, depth_bins: bins of equal width over (nearest, farthest), metric depth along the optical axis.
        stride: pixels of the network's image per feature cell.
        valid_ranges_px: (least, largest) sqrt(w * h) of the objects that each trident branch is for, px of the
            network's image: one pair per branch that comes in.
        scale_aware: weight the branches per depth by those ranges. False takes their mean at every depth, which is a
            plain sum of branches.
        ground_z_m: height of the ground in the LiDAR frame (nuScenes' LiDAR is 1.84 m above it). A convolution does not
            know in which row of the image it is, and the row of its foot is what tells how far a thing is; the depth
            network is told where each cell's ray meets the ground (the idea of GEDepth, Yang et al., ICCV 2023). None
            tells it nothing.
    """

    depths_m: Tensor

    def __init__(
        self,
        in_channels: int,
        channels: int,
        grid: BEVGrid,
        depth_range_m: tuple[float, float] = (1.0, 60.0),
        depth_bins: int = 59,
        stride: int = 8,
        valid_ranges_px: Sequence[tuple[float, float]] = VALID_RANGES_PX,
        scale_aware: bool = True,
        ground_z_m: float | None = -1.84,
    ) -> None:
        super().__init__()
        near, far = depth_range_m
        if not 0 < near < far:
            raise ValueError(f"depth_range_m needs 0 < near < far, got {depth_range_m}")
        self.grid, self.stride, self.out_channels = grid, stride, channels
        self.near_m, self.step_m, self.depth_bins = near, (far - near) / depth_bins, depth_bins
        depths = near + (torch.arange(depth_bins) + 0.5) * self.step_m
        self.register_buffer("depths_m", depths, persistent=False)
        self.depth_net = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, depth_bins, 1),
        )
        # The same picture means another depth at another focal length: the depth features are scaled per camera.
        self.camera_gate = nn.Sequential(nn.Linear(4, in_channels), nn.ReLU(), nn.Linear(in_channels, in_channels))
        self.ground_z_m = ground_z_m
        self.ground_net = None if ground_z_m is None else nn.Conv2d(depth_bins, in_channels, 1, bias=False)
        self.feature_net = nn.Conv2d(in_channels, channels, 1)
        self.choice = ScaleChoice(valid_ranges_px, depths) if scale_aware else None
        # e^5 against the other bins together: a LiDAR point is most of the truth, but not all pixels of a cell see it.
        self.measured_gain = nn.Parameter(torch.tensor(5.0))

    def forward(
        self,
        features: Tensor,
        image_from_lidar: Tensor,
        camera_mask: Tensor,
        measured: Tensor | None = None,
        painted: Tensor | None = None,
        cells: Tensor | None = None,
        unguided: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Lift.

        Args:
            features: [R,B,N,C,h,w] of every branch, batch and camera.
            image_from_lidar: [B,N,4,4], (u d, v d, d, 1) = image_from_lidar (x, y, z, 1), for the network's image.
            camera_mask: [B,N] bool, False where the camera is missing.
            measured: [B,N,h,w] int64, the bin of `measure`, -1 where the LiDAR says nothing; None without LiDAR.
                Where it is known, that bin's logit is raised by a learned amount.
            painted: [B,N,K,h,w], further channels to lift as they are, the same for every branch.
            cells: [B,N,D,h,w] int64, what `frustum_cells` gives for these matrices; None computes them.
            unguided: append the map of every sample as it is where `measured` is not known.

        Returns:
            BEV map [B,C'+K,Y,X], [2B,C'+K,Y,X] with `unguided`, and depth logits [B,N,D,h,w], predicted from the images
            alone.
        """
        if self.choice is None:
            features = features.mean(dim=0, keepdim=True)
        branches, batch = features.shape[:2]
        focal = focal_lengths(image_from_lidar)
        logits = self.depth_logits(features, image_from_lidar, camera_mask)
        context = self.feature_net(features.flatten(0, 2))
        if painted is not None:
            again = painted.flatten(0, 1).to(context.dtype).repeat(branches, 1, 1, 1)
            context = torch.cat((context, again), dim=1)
        context = context.permute(0, 2, 3, 1)
        _, rows, columns = self.grid.shape
        count = batch * rows * columns
        if cells is None:
            cells = self.frustum_cells(image_from_lidar, features.shape[-2:])
        index = pool_index(cells.flatten(0, 1), count)
        index = repeat_views(index, branches) if branches > 1 else index
        scale = None if self.choice is None else self.choice(focal.log().mean(dim=-1).exp())[..., None, None]
        maps = []
        for guide in (measured, None) if unguided else (measured,):
            depth = (self._depths(logits, guide) * camera_mask[:, :, None, None, None])[None]
            if scale is not None:
                # [R,B,N,D,h,w]: the branches enter the pooling as further views of the same rays.
                depth = scale * depth
            bev = bev_pool(context, depth.flatten(0, 2).to(context.dtype), index, count)
            maps.append(bev.view(batch, rows, columns, -1).permute(0, 3, 1, 2))
        return torch.cat(maps) if unguided else maps[0], logits

    def _depths(self, logits: Tensor, measured: Tensor | None) -> Tensor:
        """Distribution over the depth bins, from logits [B,N,D,h,w] and what is measured [B,N,h,w]."""
        guided = logits.float()
        if measured is not None:
            bins = torch.arange(self.depth_bins, device=measured.device)[:, None, None]
            guided = guided + self.measured_gain * (measured[:, :, None] == bins)
        return guided.softmax(dim=2)

    def depth_logits(self, features: Tensor, image_from_lidar: Tensor, camera_mask: Tensor) -> Tensor:
        """Depth logits [B,N,D,h,w] from the mean of the branches and the cameras' geometry."""
        mean = features.mean(dim=0)
        gate = self.camera_gate(_camera_numbers(image_from_lidar).to(mean.dtype)).sigmoid() * 2
        views = (mean * gate[..., None, None]).flatten(0, 1)
        if self.ground_net is not None and self.ground_z_m is not None:
            ground = self.ground_bins(image_from_lidar, mean.shape[-2:], self.ground_z_m)
            views = views + self.ground_net(ground.flatten(0, 1).to(views.dtype))
        present = present_rows(camera_mask) if self.training else None
        out = placed(self.depth_net(views if present is None else views[present]), present, len(views))
        return out.unflatten(0, mean.shape[:2])

    @torch.no_grad()
    @without_autocast
    def ground_bins(self, image_from_lidar: Tensor, size: Sequence[int], ground_z_m: float) -> Tensor:
        """Where the ray through each feature cell's centre meets the ground at `ground_z_m` of the LiDAR frame,
        [B,N,D,h,w] float32: shares of the two depth bins whose centres enclose it, which add up to one; zeros where it
        meets none within the bins."""
        # z = (u, v, 1) . row d + offset along the ray.
        to_z = invert_affine(image_from_lidar.double())[..., 2, :].float()
        height, width = size
        u, v = pixel_centres((height, width), self.stride, image_from_lidar.device).unbind(-1)
        row = to_z[..., :3, None, None]
        slope = row[..., 0, :, :] * u + row[..., 1, :, :] * v + row[..., 2, :, :]  # [B,N,h,w]
        depth = (ground_z_m - to_z[..., 3, None, None]) / slope
        place = ((depth - self.near_m) / self.step_m - 0.5)[:, :, None]
        bins = torch.arange(self.depth_bins, device=place.device)[:, None, None]
        return (1 - (place - bins).abs()).clamp(min=0).nan_to_num(0.0)

    @torch.no_grad()
    @without_autocast
    def frustum_cells(self, image_from_lidar: Tensor, size: Sequence[int]) -> Tensor:
        """Flat BEV cell (sample included) of every frustum point, [B,N,D,h,w] int64; -1 outside the grid."""
        height, width = size
        batch, cameras = image_from_lidar.shape[:2]
        device = image_from_lidar.device
        u, v = pixel_centres((height, width), self.stride, device).unbind(-1)
        d = self.depths_m[:, None, None].expand(-1, height, width)
        rays = torch.stack((u * d, v * d, d), dim=-1).view(-1, 3)
        # No solver and no matrix product, which round as their libraries like: csrc/kernels/onnx_inputs.cpp takes the
        # same steps in the same order, so that a point on the border of two cells lands in the same one.
        lidar_from_image = invert_affine(image_from_lidar.double()).float()
        cell = self.grid.flat_bev_cells(transform_points(lidar_from_image, rays))
        _, rows, columns = self.grid.shape
        sample = torch.arange(batch, device=device)[:, None, None] * (rows * columns)
        return torch.where(cell >= 0, cell + sample, -1).view(batch, cameras, self.depth_bins, height, width)

    @torch.no_grad()
    @without_autocast
    def measure(
        self,
        points: Tensor,  # [P,5]
        point_batch: Tensor,  # [P] int64
        image_from_lidar: Tensor,  # [B,N,4,4]
        image_hw: tuple[int, int],  # of the network's image
    ) -> MeasuredCells:
        """The nearest point of the key sweep in every feature cell.

        Older sweeps would put moving objects where they were.
        """
        height, width = image_hw[0] // self.stride, image_hw[1] // self.stride
        batch, cameras = image_from_lidar.shape[:2]
        # Every point keeps its place, whether it counts or not: a selection would make the device be waited for, and
        # the exported network depend on one more size.
        count = points.shape[0]  # not len, which would fix the number when the network is exported
        homogeneous = F.pad(points[:, :3], (0, 1), value=1.0)
        # Every point through every camera of the batch, then those of its own sample: no matrix per point.
        everywhere = (homogeneous @ image_from_lidar[:, :, :3].flatten(0, 2).T).view(count, batch, cameras * 3)
        own = everywhere.gather(1, point_batch[:, None, None].expand(-1, 1, cameras * 3))
        uvd = own.view(count, cameras, 3)
        d = uvd[..., 2]
        column = ((uvd[..., 0] / d + 0.5) / self.stride).floor()
        row = ((uvd[..., 1] / d + 0.5) / self.stride).floor()
        bins = ((d - self.near_m) / self.step_m).floor()
        seen = (points[:, 4] == 0)[:, None] & (d > 0) & (bins >= 0) & (bins < self.depth_bins)
        seen &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
        camera = torch.arange(cameras, device=points.device).expand_as(d)
        flat = ((point_batch[:, None] * cameras + camera) * height + row.long()) * width + column.long()
        # By depth first, then by row: the least number of a cell names both. One cell more takes what is not seen.
        radix = count + 1  # positive for an empty cloud too
        rank = bins.long() * radix + torch.arange(count, device=points.device)[:, None]
        none, cells = self.depth_bins * radix, batch * cameras * height * width
        nearest = torch.full((cells + 1,), none, device=points.device)
        nearest = nearest.scatter_reduce(0, torch.where(seen, flat, cells).flatten(), rank.flatten(), "amin")
        nearest = nearest[:cells].view(batch, cameras, height, width)
        hit = nearest < none
        return MeasuredCells(torch.where(hit, nearest // radix, -1), torch.where(hit, nearest % radix, -1))

    def depth_targets(self, measured: MeasuredCells, box_depth: Tensor) -> Tensor:
        """Depth bins to learn, [B,N,h,w] int64: the LiDAR's, else that of the boxes' nearest faces (`box_depths`, m;
        infinity for none), else -1."""
        known = (box_depth >= self.near_m) & (box_depth < self.near_m + self.depth_bins * self.step_m)
        face = (torch.where(known, box_depth - self.near_m, 0.0) / self.step_m).long().clamp(max=self.depth_bins - 1)
        return torch.where(measured.bin >= 0, measured.bin, torch.where(known, face, -1))

    def depth_loss(self, logits: Tensor, targets: Tensor, camera_mask: Tensor) -> Tensor:
        """Cross-entropy of the depth bins [B,N,h,w] where they are known (not -1); zero where none is."""
        valid = (targets >= 0) & camera_mask[:, :, None, None]
        losses = F.cross_entropy(logits.float().flatten(0, 1), targets.clamp(min=0).flatten(0, 1), reduction="none")
        return (losses * valid.flatten(0, 1)).sum() / object_count(valid.sum(), losses.device)


def _camera_numbers(image_from_lidar: Tensor) -> Tensor:
    """What the depth network is told of each camera, [B,N,4]: log focal length, pixel aspect, pitch, height."""
    m = image_from_lidar.double()
    fx, fy = focal_lengths(image_from_lidar).unbind(dim=-1)
    height = invert_affine(m)[..., 2, 3]
    numbers = ((fx / 400.0).log(), (fx / fy).log(), m[..., 2, 2], height / math.sqrt(2))
    return torch.stack(numbers, dim=-1).float()

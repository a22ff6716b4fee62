"""What a map and images show where boxes are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.geometry.grid import BEVGrid
from perception.geometry.precision import without_autocast
from perception.head.box_code import cell_position

# What is nearer to a camera (m), or behind it, is not seen.
NEAR_M = 0.5


def side_middles(boxes: Tensor) -> Tensor:
    """Centres of boxes [B,K,9] and the middles of their front, back, left and right sides from above, [B,K,5,2]."""
    cos, sin = boxes[..., 6:7].cos(), boxes[..., 6:7].sin()
    ahead = torch.cat((cos, sin), dim=-1) * boxes[..., 3:4] / 2
    left = torch.cat((-sin, cos), dim=-1) * boxes[..., 4:5] / 2
    steps = torch.stack((torch.zeros_like(ahead), ahead, -ahead, left, -left), dim=-2)
    return boxes[..., None, :2] + steps


def sample_map(bev: Tensor, points: Tensor, grid: BEVGrid) -> Tensor:
    """A map [B,C,Y,X] at points [B,K,P,2] (m, LiDAR frame) between the centres of its cells, [B,K,P,C]; beyond its
    border, the border's."""
    _, rows, columns = grid.shape
    place = cell_position(points, grid) / points.new_tensor([columns, rows]) * 2 - 1
    return F.grid_sample(bev, place, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)


@without_autocast
def sample_images(
    boxes: Tensor,  # [B,K,9], LiDAR frame
    maps: Tensor,  # [B,N,C,h,w]
    image_from_lidar: Tensor,  # [B,N,4,4]
    camera_mask: Tensor,  # [B,N] bool
    places: Tensor,  # [P,3], shares of a box's size from its centre along its length, width and height
    stride: int,  # pixels per cell of the maps
) -> tuple[Tensor, Tensor]:
    """What maps of the images show at the places of each box, [B,K,P,C], and which places are seen, [B,K,P] bool. A box
    is looked at by the camera that sees most of its places, the first of several; what it does not see is zero."""
    height, width = maps.shape[3:]
    pixels, depth = _projected(boxes, places, image_from_lidar)
    size = pixels.new_tensor([width * stride, height * stride])
    seen = (depth > NEAR_M) & ((pixels >= 0) & (pixels < size)).all(dim=-1) & camera_mask[:, :, None, None]
    camera = seen.sum(dim=3).argmax(dim=1)  # [B,K]
    seen = _of_camera(seen, camera)
    sampled = _sample_stacked(maps, _of_camera(pixels, camera) / stride, camera)
    return sampled.permute(0, 2, 3, 1) * seen[..., None], seen


class Rectangles(NamedTuple):
    """Where boxes appear in the images.

    Attributes:
        camera: [B,K] int64, the camera that sees most of a box.
        low, high: [B,K,2] float32, the corners u v (px, from the image's corner) of the rectangle around its corners.
        share: [B,K] float32 (0 to 1), how much of the rectangle lies in the image; 0 for a box that no camera has
            wholly before it.
    """

    camera: Tensor
    low: Tensor
    high: Tensor
    share: Tensor


@without_autocast
def image_rectangles(
    boxes: Tensor,  # [B,K,9], LiDAR frame
    image_from_lidar: Tensor,  # [B,N,4,4]
    camera_mask: Tensor,  # [B,N] bool
    image_hw: tuple[int, int],
) -> Rectangles:
    """The rectangle of each box in the image that shows most of it."""
    corners = torch.cartesian_prod(*boxes.new_tensor([[-0.5, 0.5]] * 3).unbind())
    pixels, depth = _projected(boxes, corners, image_from_lidar)
    low, high = pixels.amin(dim=3), pixels.amax(dim=3)  # [B,N,K,2]
    size = pixels.new_tensor([image_hw[1], image_hw[0]])
    inside = high.clamp(min=0).minimum(size) - low.clamp(min=0).minimum(size)
    share = inside.prod(dim=-1) / (high - low).clamp(min=1e-3).prod(dim=-1)
    share = share * ((depth > NEAR_M).all(dim=3) & camera_mask[:, :, None])
    camera = share.argmax(dim=1)
    return Rectangles(camera, *(_of_camera(part, camera) for part in (low, high, share)))


@without_autocast
def crop_images(images: Tensor, rectangles: Rectangles, size: int) -> Tensor:
    """What images [B,N,C,H,W] show in each rectangle, stretched to [B,K,C,size,size]; zero beyond the image."""
    height, width = images.shape[3:]
    steps = (torch.arange(size, device=images.device) + 0.5) / size
    low, extent = rectangles.low[..., None], (rectangles.high - rectangles.low)[..., None]
    u, v = (low + steps * extent).unbind(dim=2)  # [B,K,size]
    pixels = torch.stack((u[:, :, None].expand(-1, -1, size, -1), v[..., None].expand(-1, -1, -1, size)), dim=-1)
    sampled = _sample_stacked(images.float(), pixels.flatten(2, 3), rectangles.camera)
    inside = ((u >= 0) & (u <= width))[:, :, None] & ((v >= 0) & (v <= height))[..., None]  # [B,K,size,size]
    return sampled.unflatten(3, (size, size)).transpose(1, 2) * inside[:, :, None]


def _projected(boxes: Tensor, places: Tensor, image_from_lidar: Tensor) -> tuple[Tensor, Tensor]:
    """Where the places [P,3] of boxes [B,K,9] are in the images: pixels [B,N,K,P,2] from the image's corner, which is
    half a pixel before the middle of its first pixel, and depths [B,N,K,P] (m)."""
    along, across, up = (places * boxes[:, :, None, 3:6]).unbind(-1)  # [B,K,P]
    cos, sin = boxes[:, :, None, 6].cos(), boxes[:, :, None, 6].sin()
    points = torch.stack((along * cos - across * sin, along * sin + across * cos, up), dim=-1) + boxes[:, :, None, :3]
    # Camera by camera: [B,N,K P,3], (u d, v d, d).
    flat = F.pad(points.flatten(1, 2), (0, 1), value=1.0)[:, None]
    projected = (flat @ image_from_lidar[:, :, :3].float().transpose(2, 3)).unflatten(2, points.shape[1:3])
    depth = projected[..., 2]
    return projected[..., :2] / depth.clamp(min=0.1)[..., None] + 0.5, depth


def _of_camera(values: Tensor, camera: Tensor) -> Tensor:
    """Values [B,N,K,...] of the camera [B,K] of each box, [B,K,...]."""
    which = camera.view(camera.shape[0], 1, camera.shape[1], *[1] * (values.ndim - 3))
    return values.gather(1, which.expand(-1, 1, -1, *values.shape[3:]))[:, 0]


def _sample_stacked(maps: Tensor, cells: Tensor, camera: Tensor) -> Tensor:
    """Maps [B,N,C,h,w] of each box's camera [B,K] at its cells [B,K,P,2] (u v, from the map's corner), [B,C,K,P];
    beyond the map's border, the border's."""
    cameras, height, width = maps.shape[1], maps.shape[3], maps.shape[4]
    # All maps as one, each below the one before; none is read across its border.
    column = cells[..., 0].clamp(0.5, width - 0.5) / width
    row = (cells[..., 1].clamp(0.5, height - 0.5) + camera[..., None] * height) / (cameras * height)
    spots = torch.stack((column, row), dim=-1) * 2 - 1
    tall = maps.transpose(1, 2).flatten(2, 3)
    return F.grid_sample(tall, spots, padding_mode="border", align_corners=False)

"""What a map and images show where boxes are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.geometry.grid import BEVGrid
from perception.geometry.precision import without_autocast
from perception.head.box_code import cell_position


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
    batch, cameras, channels, height, width = maps.shape
    along, across, up = (places * boxes[:, :, None, 3:6]).unbind(-1)  # [B,K,P]
    cos, sin = boxes[:, :, None, 6].cos(), boxes[:, :, None, 6].sin()
    points = torch.stack((along * cos - across * sin, along * sin + across * cos, up), dim=-1) + boxes[:, :, None, :3]
    # Camera by camera: [B,N,K P,3], (u d, v d, d).
    flat = F.pad(points.flatten(1, 2), (0, 1), value=1.0)[:, None]
    projected = flat @ image_from_lidar[:, :, :3].float().transpose(2, 3)
    depth = projected[..., 2]
    # From the image's corner, which is half a pixel before the middle of its first pixel.
    pixels = projected[..., :2] / depth.clamp(min=0.1)[..., None] + 0.5
    size = pixels.new_tensor([width * stride, height * stride])
    seen = (depth > 0.5) & ((pixels >= 0) & (pixels < size)).all(dim=-1) & camera_mask[:, :, None]
    shape = (batch, cameras, boxes.shape[1], len(places))
    camera = seen.view(shape).sum(dim=3).argmax(dim=1)  # [B,K]
    own = camera[:, None, :, None].expand(-1, 1, -1, shape[3])
    seen = seen.view(shape).gather(1, own)[:, 0]
    cell = pixels.view(*shape, 2).gather(1, own[..., None].expand(-1, -1, -1, -1, 2))[:, 0] / stride
    # All pictures as one, each below the one before; none is read across its border.
    column = cell[..., 0].clamp(0.5, width - 0.5) / width
    row = (cell[..., 1].clamp(0.5, height - 0.5) + camera[..., None] * height) / (cameras * height)
    tall = maps.transpose(1, 2).reshape(batch, channels, cameras * height, width)
    spots = torch.stack((column, row), dim=-1) * 2 - 1
    sampled = F.grid_sample(tall, spots, padding_mode="border", align_corners=False)
    return sampled.permute(0, 2, 3, 1) * seen[..., None], seen

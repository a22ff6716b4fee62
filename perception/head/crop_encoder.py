"""What a candidate looks like: the picture in its box, brought to one size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.camera.rows import placed, present_rows
from perception.fusion.decoder import conv_norm_relu
from perception.head.box_sampling import Rectangles, crop_images, image_rectangles

# Pixels of a crop along either side, and what it shows beyond the rectangle around a box, as a share of that on each
# side.
CROP_SIZE = 32
MARGIN = 0.1
# How crops vary: their sides by up to this share of the rectangle, their brightness by up to that one, and their
# colours by up to these levels of 255.
SIDES_OFF, BRIGHTNESS_OFF, COLOUR_OFF = 0.1, 0.2, 10.0


class CropEncoder(nn.Module):
    """A network of four convolutions for crops. A box at 40 m, some ten pixels high, comes to it in the size of one at
    10 m, which a network for whole images has to learn apart.

    Args:
        channels: of the code of a crop.
        width: channels of the first convolution; the others have twice and four times as many.
        dropout: share of what comes out of them, and of the code, that training leaves out.
    """

    def __init__(self, channels: int, width: int = 16, dropout: float = 0.3) -> None:
        super().__init__()
        self.dropout = dropout
        self.layers = nn.Sequential(
            conv_norm_relu(3, width, stride=2),
            conv_norm_relu(width, 2 * width, stride=2),
            conv_norm_relu(2 * width, 4 * width, stride=2),
            conv_norm_relu(4 * width, 4 * width),
        )
        self.code = nn.Linear(4 * width * (CROP_SIZE // 8) ** 2, channels)

    def forward(self, crops: Tensor, seen: Tensor) -> Tensor:
        """[M,channels] of crops [M,3,CROP_SIZE,CROP_SIZE], RGB 0..255, those that are `seen` [M] bool; of no meaning
        for the others."""
        present = None
        if self.training:  # empty crops would count in the norms
            present = present_rows(seen)
            crops = crops[present]
        maps = self.layers((crops / 127.5 - 1).contiguous(memory_format=torch.channels_last))
        code = F.relu(self.code(F.dropout(maps.flatten(1), self.dropout, self.training)))
        return placed(F.dropout(code, self.dropout, self.training), present, len(seen))


def crops_of(
    boxes: Tensor,  # [B,K,9], LiDAR frame
    images: Tensor,  # [B,N,3,H,W]
    image_from_lidar: Tensor,  # [B,N,4,4]
    camera_mask: Tensor,  # [B,N] bool
    variation: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Crops [B,K,3,CROP_SIZE,CROP_SIZE] of the images, RGB 0..255, and of each one the logarithms of width and height
    (px) and the share of it that lies in the image, [B,K,3]: zero where no camera sees the box. With a
    `variation` their places, brightness and colours differ by chance, at 1 as much as SIDES_OFF and its like say."""
    image_hw = (images.shape[-2], images.shape[-1])
    camera, low, high, share = image_rectangles(boxes, image_from_lidar, camera_mask, image_hw)
    extent = high - low
    low, high = low - MARGIN * extent, high + MARGIN * extent
    if variation > 0:
        low = low + variation * SIDES_OFF * extent * _signed(low)
        high = high + variation * SIDES_OFF * extent * _signed(high)
    crops = crop_images(images, Rectangles(camera, low, high, share), CROP_SIZE)
    if variation > 0:
        brightness = 1 + variation * BRIGHTNESS_OFF * _signed(crops[:, :, :1, :1, :1])
        crops = (crops * brightness + variation * COLOUR_OFF * _signed(crops[..., :1, :1])).clamp(0, 255)
    shape = torch.cat((extent.clamp(min=1).log(), share[..., None]), dim=-1)
    return crops, shape * (share > 0)[..., None]


def _signed(like: Tensor) -> Tensor:
    return 2 * torch.rand_like(like) - 1

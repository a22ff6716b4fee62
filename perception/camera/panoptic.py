"""The panoptic network on its own: images to masks, with the camera branch's backbone and neck."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perception.camera.branch import IMAGE_MEAN, IMAGE_STD
from perception.camera.neck import TridentNeck
from perception.camera.panoptic_head import PanopticHead, PanopticOutput
from perception.camera.trident import TridentResNet


class PanopticNetwork(nn.Module):
    """TridentNet, neck and panoptic head."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: TridentResNet, neck: TridentNeck, head: PanopticHead) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> PanopticOutput:
        """images [M,3,H,W] uint8 or float RGB 0..255, sides multiples of 16."""
        x = ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        out: PanopticOutput = self.head(self.neck(*self.backbone(x)), x)
        return out

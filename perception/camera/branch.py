"""The camera branch: images -> TridentNet -> neck -> lift -> BEV."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perception.camera.lift import ScaleAwareLift
from perception.camera.neck import TridentNeck
from perception.camera.trident import TridentResNet

# ImageNet's mean and deviation of RGB values 0..255, which the pretrained checkpoints expect.
IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)


class CameraBranch(nn.Module):
    """Any number of cameras to one BEV map; a missing camera contributes nothing."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: TridentResNet, neck: TridentNeck, lift: ScaleAwareLift) -> None:
        super().__init__()
        self.backbone, self.neck, self.lift = backbone, neck, lift
        self.out_channels = lift.out_channels
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)

    def forward(
        self, images: Tensor, image_from_lidar: Tensor, camera_mask: Tensor, measured: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """images [B,N,3,H,W] uint8 or float RGB 0..255, image_from_lidar [B,N,4,4], camera_mask [B,N] bool, and where
        a LiDAR is at hand its depths, `measured` [B,N,H/8,W/8] int64 (ScaleAwareLift.measured_depth).

        Returns:
            BEV [B,C,Y,X] and depth logits [B,N,D,H/8,W/8].
        """
        batch, cameras = images.shape[:2]
        # A missing camera may come with any matrix; the identity can be inverted.
        identity = torch.eye(4, device=images.device, dtype=image_from_lidar.dtype)
        image_from_lidar = torch.where(camera_mask[:, :, None, None], image_from_lidar, identity)
        x = (images.flatten(0, 1).float() - self.mean) / self.std
        features = self.neck(*self.backbone(x.contiguous(memory_format=torch.channels_last)))
        features = features.unflatten(1, (batch, cameras))
        out: tuple[Tensor, Tensor] = self.lift(features, image_from_lidar, camera_mask, measured)
        return out

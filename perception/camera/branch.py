"""The camera branch: images -> TridentNet -> neck -> lift -> BEV."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from perception.camera.image_head import ImageHeadOutput, TridentImageHead
from perception.camera.lift import ScaleAwareLift
from perception.camera.neck import TridentNeck
from perception.camera.panoptic_head import PanopticHead, PanopticOutput
from perception.camera.rows import placed, present_rows
from perception.camera.semantics import SemanticHead
from perception.camera.trident import TridentResNet

# ImageNet's mean and deviation of RGB values 0..255, which the pretrained checkpoints expect.
IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)


class CameraOutput(NamedTuple):
    """Attributes:
    bev: [B,C,Y,X]; [2B,C,Y,X] where the unguided maps were asked for.
    depth_logits: [B,N,D,h,w], from the images alone.
    semantic_logits: [B,N,classes+1,h,w], the last one background; None without a semantic head.
    image: the 2D head's output; None without one and at inference.
    features: [B,N,C,h,w] of the neck, the mean of the branches; zero where a camera is missing in training.
    panoptic: the panoptic head's for B*N images, in training for those of the cameras that are there (`present_rows`);
        None without one.
    """

    bev: Tensor
    depth_logits: Tensor
    semantic_logits: Tensor | None
    image: ImageHeadOutput | None
    features: Tensor
    panoptic: PanopticOutput | None = None


class CameraBranch(nn.Module):
    """Any number of cameras to one BEV map; a missing camera contributes nothing.

    Args:
        backbone, neck, lift: the parts.
        semantic: if given, the class probabilities that it sees are lifted beside the features: so many channels more.
        image_head: if given, it runs in training only, as a further thing to learn.
        panoptic: if given, masks of the images, as a further thing to learn.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: TridentResNet,
        neck: TridentNeck,
        lift: ScaleAwareLift,
        semantic: SemanticHead | None = None,
        image_head: TridentImageHead | None = None,
        panoptic: PanopticHead | None = None,
    ) -> None:
        super().__init__()
        for name, part in (("lift", lift.choice), ("image_head", image_head)):
            if part is not None and part.branches != backbone.branches:
                raise ValueError(
                    f"{name} has valid_ranges_px for {part.branches} branches, the backbone has {backbone.branches}"
                )
        self.backbone, self.neck, self.lift = backbone, neck, lift
        self.semantic, self.image_head, self.panoptic = semantic, image_head, panoptic
        self.out_channels = lift.out_channels + (semantic.classes if semantic is not None else 0)
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)

    def forward(
        self,
        images: Tensor,
        image_from_lidar: Tensor,
        camera_mask: Tensor,
        measured: Tensor | None = None,
        cells: Tensor | None = None,
        unguided: bool = False,
    ) -> CameraOutput:
        """images [B,N,3,H,W] uint8 or float RGB 0..255, image_from_lidar [B,N,4,4], camera_mask [B,N] bool, and where
        a LiDAR is at hand its depth bins, `measured` [B,N,H/8,W/8] int64 (ScaleAwareLift.measure); `cells` and
        `unguided` as ScaleAwareLift takes them."""
        batch, cameras = images.shape[:2]
        # A missing camera may come with any matrix; the identity can be inverted.
        identity = torch.eye(4, device=images.device, dtype=image_from_lidar.dtype)
        image_from_lidar = torch.where(camera_mask[:, :, None, None], image_from_lidar, identity)
        views, present = images.flatten(0, 1), None
        if self.training:
            present = present_rows(camera_mask)
            views = views[present]
        x = (views.float() - self.mean) / self.std
        x = x.contiguous(memory_format=torch.channels_last)
        features = self.neck(*self.backbone(x))
        panoptic = self.panoptic(features, x) if self.panoptic is not None else None
        features = placed(features, present, batch * cameras, dim=1).unflatten(1, (batch, cameras))
        semantic_logits = painted = image = None
        if self.semantic is not None:
            semantic_logits = self.semantic(features)
            painted = semantic_logits.float().softmax(dim=2)[:, :, :-1]
        if self.image_head is not None and self.training:
            image = self.image_head(features)
        bev, depth_logits = self.lift(features, image_from_lidar, camera_mask, measured, painted, cells, unguided)
        return CameraOutput(bev, depth_logits, semantic_logits, image, features.mean(dim=0), panoptic)

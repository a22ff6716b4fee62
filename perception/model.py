"""The network: tensors in, tensors out. Points and images to 3D boxes, with either sensor or both."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from perception.camera.branch import CameraBranch, CameraOutput
from perception.camera.lift import MeasuredCells
from perception.fusion.decoder import BEVDecoder
from perception.fusion.fuser import Fuser
from perception.head.center_head import CenterHead, Detections, HeadOutput
from perception.head.query_head import QueryHead, QueryOutput
from perception.lidar.branch import LidarBranch


class Frames(NamedTuple):
    """What the sensors saw, for a batch of B key frames with N cameras.

    Attributes:
        points: [P,5] float32: x y z (m, LiDAR frame), intensity (0..255), age (s, 0 for the key sweep).
        point_batch: [P] int64, the sample of each point.
        images: [B,N,3,H,W] uint8 RGB; a missing camera's is zero.
        image_from_lidar: [B,N,4,4] float32: (u d, v d, d, 1) = image_from_lidar (x, y, z, 1), for these
            very images and points.
        camera_mask: [B,N] bool, False where a camera is missing.
        lidar_mask: [B] bool, False where the LiDAR is missing.
    """

    points: Tensor
    point_batch: Tensor
    images: Tensor
    image_from_lidar: Tensor
    camera_mask: Tensor
    lidar_mask: Tensor


class NetworkOutput(NamedTuple):
    """The head's output and, with cameras, their branch's and what the LiDAR measured in the pictures, which supervise
    it."""

    head: HeadOutput | QueryOutput
    camera: CameraOutput | None
    measured: MeasuredCells | None


class PerceptionNetwork(nn.Module):
    """Branches, fusion, decoder and head.

    Args:
        lidar, camera: the branches; one of them may be None.
        fuser: joins their maps; its inputs are the present branches in the order LiDAR, camera.
        decoder: BEV decoder.
        head: from the decoded map to boxes.

    Raises ValueError without any branch, or where a map's cells are not those of the head's grid.
    """

    def __init__(
        self,
        lidar: LidarBranch | None,
        camera: CameraBranch | None,
        fuser: Fuser,
        decoder: BEVDecoder,
        head: CenterHead | QueryHead,
    ) -> None:
        super().__init__()
        if lidar is None and camera is None:
            raise ValueError("the network needs a LiDAR branch, a camera branch or both")
        for branch, grid in (
            ("LiDAR", None if lidar is None else lidar.out_grid),
            ("camera", None if camera is None else camera.lift.grid),
        ):
            if grid is not None and grid.scaled(decoder.stride).shape[1:] != head.grid.shape[1:]:
                raise ValueError(
                    f"the {branch} branch's map has {grid.shape[1:]} cells (Y,X) and the decoder a stride of "
                    f"{decoder.stride}: these are not the {head.grid.shape[1:]} cells of the head's grid"
                )
        self.lidar, self.camera = lidar, camera
        self.fuser, self.decoder, self.head = fuser, decoder, head

    def forward(self, frames: Frames) -> NetworkOutput:
        maps, present = [], []
        camera = measured = None
        batch_size = frames.lidar_mask.shape[0]
        if self.lidar is not None:
            maps.append(self.lidar(frames.points, frames.point_batch, batch_size))
            present.append(frames.lidar_mask)
        if self.camera is not None:
            if self.lidar is not None or self.training:
                image_hw = (frames.images.shape[-2], frames.images.shape[-1])
                measured = self.camera.lift.measure(
                    frames.points, frames.point_batch, frames.image_from_lidar, image_hw
                )
            guide = measured.bin if measured is not None and self.lidar is not None else None
            camera = self.camera(frames.images, frames.image_from_lidar, frames.camera_mask, guide)
            maps.append(camera.bev)
            present.append(frames.camera_mask.any(dim=1))
        head = self.head(self.decoder(self.fuser(maps, present)))
        return NetworkOutput(head, camera, measured)

    @torch.no_grad()
    def detect(self, frames: Frames) -> Detections:
        """Boxes of every sample, by descending score."""
        return self.head.decode(self(frames).head)

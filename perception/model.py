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
    """Attributes:
    head: the head's output for the B samples, and then for those of `again`.
    camera: the camera branch's; None without cameras.
    measured: what the LiDAR measured in the pictures, which supervises them.
    again: [A] int64, the samples that were decoded a second time as if their LiDAR were missing (`without_lidar`).
    """

    head: HeadOutput | QueryOutput
    camera: CameraOutput | None
    measured: MeasuredCells | None
    again: Tensor | None = None


class PerceptionNetwork(nn.Module):
    """Branches, fusion, decoder and head.

    Args:
        lidar, camera: the branches; one of them may be None.
        fuser: joins their maps; its inputs are the present branches in the order LiDAR, camera.
        decoder: BEV decoder.
        head: from the decoded map to boxes.
        without_lidar: share (0 to 1) of the training samples with both sensors that are decoded a second time, from
            their cameras alone. The branches run once. Modality dropout could have as many of them only by taking the
            LiDAR from as many, and in a batch of one its batch norms would never see both kinds together.

    Raises ValueError without any branch, where a map's cells are not those of the head's grid, or where `without_lidar`
    is no share.
    """

    def __init__(
        self,
        lidar: LidarBranch | None,
        camera: CameraBranch | None,
        fuser: Fuser,
        decoder: BEVDecoder,
        head: CenterHead | QueryHead,
        without_lidar: float = 0.0,
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
        if not 0 <= without_lidar <= 1:
            raise ValueError(f"without_lidar must be a share from 0 to 1, got {without_lidar}")
        self.lidar, self.camera = lidar, camera
        self.fuser, self.decoder, self.head = fuser, decoder, head
        self.without_lidar = without_lidar if lidar is not None and camera is not None else 0.0

    def forward(self, frames: Frames) -> NetworkOutput:
        maps, present = [], []
        camera = measured = again = None
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
            twice = self.training and self.without_lidar > 0
            camera = self.camera(frames.images, frames.image_from_lidar, frames.camera_mask, guide, unguided=twice)
            maps.append(camera.bev)
            present.append(frames.camera_mask.any(dim=1))
            if twice:
                drawn = torch.rand(batch_size, device=present[0].device) < self.without_lidar
                again = (present[0] & present[1] & drawn).nonzero().squeeze(1)
                maps, present = _with_cameras_alone(maps, present, again)
        head = self.head(self.decoder(self.fuser(maps, present)))
        return NetworkOutput(head, camera, measured, again)

    @torch.no_grad()
    def detect(self, frames: Frames) -> Detections:
        """Boxes of every sample, by descending score."""
        return self.head.decode(self(frames).head)


def _with_cameras_alone(maps: list[Tensor], present: list[Tensor], again: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The maps [B,C,Y,X] of the LiDAR and [2B,C,Y,X] of the cameras, and who is present [B], with the samples `again`
    appended without their LiDAR: [B+A,...]."""
    (lidar, camera), (lidar_there, camera_there) = maps, present
    alone = torch.cat((torch.arange(len(lidar), device=again.device), len(lidar) + again))
    lidar = torch.cat((lidar, lidar.new_zeros(len(again), *lidar.shape[1:])))
    lidar_there = torch.cat((lidar_there, torch.zeros_like(again, dtype=torch.bool)))
    return [lidar, camera[alone]], [lidar_there, torch.cat((camera_there, camera_there[again]))]

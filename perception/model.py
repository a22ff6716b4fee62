"""The network: tensors in, tensors out. Points and images to 3D boxes, with either sensor or both."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from perception.camera.branch import CameraBranch, CameraOutput
from perception.camera.lift import MeasuredCells
from perception.fusion.decoder import BEVDecoder
from perception.fusion.fuser import Fuser
from perception.head.center_head import CenterHead, Detections, HeadOutput
from perception.head.query_head import QueryHead, QueryOutput
from perception.head.second_stage import CameraEvidence, Corrections, Evidence, SecondStage, corrected
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
    bev: the decoded map [B+A,C,Y,X] that the head read.
    again: [A] int64, the samples that were decoded a second time as if their LiDAR were missing (`without_lidar`).
    """

    head: HeadOutput | QueryOutput
    camera: CameraOutput | None
    measured: MeasuredCells | None
    bev: Tensor
    again: Tensor | None = None


class PerceptionNetwork(nn.Module):
    """Branches, fusion, decoder and head.

    Args:
        lidar, camera: the branches; one of them may be None.
        fuser: joins their maps, "lidar" and "camera".
        decoder: BEV decoder.
        head: from the decoded map to boxes.
        second_stage: if given, it corrects the head's boxes and their scores; with image channels, also by what the
            camera branch's features and semantic head show in them.
        without_lidar: share (0 to 1) of the training samples with both sensors that are decoded a second time, from
            their cameras alone. The branches run once. Modality dropout could have as many of them only by taking the
            LiDAR from as many, and in a batch of one its batch norms would never see both kinds together.

    Raises ValueError without any branch, where a map's cells are not those of the head's grid, where `without_lidar` is
    no share, or where the second stage is of other channels or needs a semantic head that is not there.
    """

    def __init__(
        self,
        lidar: LidarBranch | None,
        camera: CameraBranch | None,
        fuser: Fuser,
        decoder: BEVDecoder,
        head: CenterHead | QueryHead,
        second_stage: SecondStage | None = None,
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
        if second_stage is not None:
            _check_second_stage(second_stage, decoder, camera)
        self.lidar, self.camera = lidar, camera
        self.fuser, self.decoder, self.head, self.second_stage = fuser, decoder, head, second_stage
        self.without_lidar = without_lidar if lidar is not None and camera is not None else 0.0

    def forward(self, frames: Frames) -> NetworkOutput:
        maps: dict[str, Tensor] = {}
        present: dict[str, Tensor] = {}
        camera = measured = again = None
        batch_size = frames.lidar_mask.shape[0]
        if self.lidar is not None:
            maps["lidar"] = self.lidar(frames.points, frames.point_batch, batch_size)
            present["lidar"] = frames.lidar_mask
        if self.camera is not None:
            if self.lidar is not None or self.training:
                image_hw = (frames.images.shape[-2], frames.images.shape[-1])
                measured = self.camera.lift.measure(
                    frames.points, frames.point_batch, frames.image_from_lidar, image_hw
                )
            guide = measured.bin if measured is not None and self.lidar is not None else None
            twice = self.training and self.without_lidar > 0
            camera = self.camera(frames.images, frames.image_from_lidar, frames.camera_mask, guide, unguided=twice)
            maps["camera"] = camera.bev
            present["camera"] = frames.camera_mask.any(dim=1)
            if twice:
                drawn = torch.rand(batch_size, device=frames.lidar_mask.device) < self.without_lidar
                again = (present["lidar"] & present["camera"] & drawn).nonzero().squeeze(1)
                maps, present = _with_cameras_alone(maps, present, again)
        bev = self.decoder(self.fuser(maps, present))
        return NetworkOutput(self.head(bev), camera, measured, bev, again)

    def evidence(self, output: NetworkOutput, frames: Frames) -> tuple[Detections, Evidence]:
        """The head's candidates for the B samples and those of `again`, and what the second stage is to know of them.

        Raises ValueError without a second stage.
        """
        if self.second_stage is None:
            raise ValueError("the network has no second stage")
        found = self._candidates(output)
        lidar_mask = frames.lidar_mask if self.lidar is not None else torch.zeros_like(frames.lidar_mask)
        if output.again is not None:
            lidar_mask = torch.cat((lidar_mask, torch.zeros_like(output.again, dtype=torch.bool)))
        cameras = None
        if self.second_stage.images is not None and frames.camera_mask.shape[1] > 0:
            assert self.camera is not None and output.camera is not None and output.camera.semantic_logits is not None
            shown = [frames.images, output.camera.features, output.camera.semantic_logits]
            shown += [frames.image_from_lidar, frames.camera_mask]
            if output.again is not None:
                shown = [torch.cat((part, part[output.again])) for part in shown]
            cameras = CameraEvidence(shown[0], shown[1], shown[2], shown[3], shown[4], self.camera.lift.stride)
        heatmap, grid = output.head.heatmap, self.head.grid
        return found, self.second_stage.evidence(found, heatmap, output.bev, grid, lidar_mask, cameras)

    def corrections(self, output: NetworkOutput, frames: Frames) -> tuple[Detections, Corrections]:
        """The head's candidates for the B samples and those of `again`, and what the second stage says of them."""
        found, known = self.evidence(output, frames)
        assert self.second_stage is not None
        return found, self.second_stage(*known)

    def detections(self, output: NetworkOutput, frames: Frames) -> Detections:
        """The boxes of the network's output for these frames, by descending score."""
        if self.second_stage is None:
            return self._candidates(output)
        found, corrections = self.corrections(output, frames)
        return corrected(found, corrections.by_all)

    @torch.no_grad()
    def _candidates(self, output: NetworkOutput) -> Detections:
        head: Any = self.head  # which the output is of
        found: Detections = head.decode(output.head)
        return found

    @torch.no_grad()
    def detect(self, frames: Frames) -> Detections:
        """Boxes of every sample, by descending score."""
        return self.detections(self(frames), frames)


def _check_second_stage(stage: SecondStage, decoder: BEVDecoder, camera: CameraBranch | None) -> None:
    if stage.in_channels != decoder.out_channels:
        raise ValueError(
            f"the second stage's in_channels are {stage.in_channels}; the decoder's map has {decoder.out_channels}"
        )
    if not stage.image_channels:
        return
    if camera is None or camera.semantic is None:
        raise ValueError("a second stage with image_channels needs a camera branch with a semantic head")
    if stage.image_channels != camera.neck.out_channels:
        raise ValueError(
            f"the second stage's image_channels are {stage.image_channels}; the neck's features have "
            f"{camera.neck.out_channels}"
        )


def _with_cameras_alone(
    maps: dict[str, Tensor], present: dict[str, Tensor], again: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The maps [B,C,Y,X] of the LiDAR and [2B,C,Y,X] of the cameras, and who is present [B], with the samples `again`
    appended without their LiDAR: [B+A,...]."""
    lidar, camera_there = maps["lidar"], present["camera"]
    alone = torch.cat((torch.arange(len(lidar), device=again.device), len(lidar) + again))
    lidar = torch.cat((lidar, lidar.new_zeros(len(again), *lidar.shape[1:])))
    lidar_there = torch.cat((present["lidar"], torch.zeros_like(again, dtype=torch.bool)))
    return (
        {"lidar": lidar, "camera": maps["camera"][alone]},
        {"lidar": lidar_there, "camera": torch.cat((camera_there, camera_there[again]))},
    )

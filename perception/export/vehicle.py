"""The network as a vehicle calls it: one key frame, a flat list of tensors in, boxes out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from perception.model import Frames, PerceptionNetwork

Precision = Literal["fp32", "bf16", "fp16"]
POINT_FEATURES = 5
BOX_NUMBERS = 9
LIDAR_INPUTS = ("points", "lidar_mask")
CAMERA_INPUTS = ("images", "image_from_lidar", "camera_mask")


@dataclass(frozen=True)
class VehicleShape:
    """The sizes that an artifact is made for.

    Attributes:
        cameras: N; 0 for a network without a camera branch.
        image_hw: rows and columns (px) of the network's images; (0, 0) without cameras.
        max_points: the most points of a frame, all sweeps together.

    Raises ValueError for sizes that cannot be.
    """

    cameras: int
    image_hw: tuple[int, int]
    max_points: int

    def __post_init__(self) -> None:
        if self.cameras < 0 or min(self.image_hw) < (1 if self.cameras else 0) or self.max_points < 1:
            raise ValueError(f"not the sizes of an artifact: {self}")


class VehicleNetwork(nn.Module):
    """A PerceptionNetwork for a batch of one, with the inputs of its own sensors, in the order of `input_names`.

    points [P,5] float32 and lidar_mask [1] bool where it has a LiDAR branch; images [N,3,H,W] uint8, image_from_lidar
    [N,4,4] float32 and camera_mask [N] bool where it has a camera branch: the fields of Frames without the batch.

    Args:
        network: the network.
        precision: bf16 and fp16 run it under torch's autocast: convolutions of the camera branch, the decoder and the
            head; positions, voxels, depths and boxes stay float32.
    """

    def __init__(self, network: PerceptionNetwork, precision: Precision = "fp32") -> None:
        super().__init__()
        self.network, self.precision = network, precision
        self.input_names = (
            LIDAR_INPUTS * (network.lidar is not None) + CAMERA_INPUTS * (network.camera is not None)
        )  # fmt: skip

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """boxes [K,9] and scores [K] float32, labels [K] int64, by descending score; a score of 0 is no detection."""
        given = dict(zip(self.input_names, inputs, strict=True))
        device = inputs[0].device
        points = given.get("points", torch.zeros(0, POINT_FEATURES, device=device))
        nothing = torch.zeros(1, dtype=torch.bool, device=device)
        images = given.get("images", torch.zeros(0, 3, 1, 1, dtype=torch.uint8, device=device))
        frames = Frames(
            points=points,
            point_batch=torch.zeros(points.shape[0], dtype=torch.int64, device=device),
            images=images[None],
            image_from_lidar=given.get("image_from_lidar", torch.zeros(0, 4, 4, device=device))[None],
            camera_mask=given.get("camera_mask", nothing[:0])[None],
            lidar_mask=given.get("lidar_mask", nothing),
        )
        # Around the call, not around the export: what surrounds an export is not in the exported program.
        low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        with nullcontext() if low is None else torch.autocast(device.type, low):
            output = self.network(frames)
        boxes, scores, labels = self.network.detections(output, frames)
        return boxes[0], scores[0], labels[0]


def example_inputs(names: Sequence[str], shape: VehicleShape, points: int = 1000, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs to trace with, of the right shapes: a random cloud of `points` and cameras that look along +y."""
    generator = torch.Generator().manual_seed(seed)
    cloud = torch.rand(points, POINT_FEATURES, generator=generator) - torch.tensor([0.5, 0.5, 0.5, 0.0, 0.0])
    rows, columns = shape.image_hw
    matrix = torch.tensor(
        [[columns / 2, columns / 2, 0.0, 0.0], [0.0, rows / 2, -columns / 2, 0.0], [0, 1.0, 0.0, 0.0], [0, 0, 0, 1.0]]
    )
    inputs = {
        "points": cloud * torch.tensor([80.0, 80.0, 4.0, 255.0, 0.0]),
        "lidar_mask": torch.ones(1, dtype=torch.bool),
        "images": torch.randint(0, 256, (shape.cameras, 3, rows, columns), dtype=torch.uint8, generator=generator),
        "image_from_lidar": matrix.repeat(shape.cameras, 1, 1),
        "camera_mask": torch.ones(shape.cameras, dtype=torch.bool),
    }
    return tuple(inputs[name] for name in names)

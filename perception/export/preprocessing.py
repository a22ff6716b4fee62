"""What happens to a sensor's data before the network, as numbers that a runtime without Python can follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perception.lidar.sst import SST
from perception.model import PerceptionNetwork


@dataclass(frozen=True)
class PointPreprocessing:
    """Sweeps to one cloud.

    The key sweep and up to `sweeps` older ones, every `every`-th, in the key sweep's frame. Points of older sweeps with
    |x| and |y| below `remove_close_m`, in their own sensor's frame, are dropped: they lie on the vehicle. Then points
    outside `range_m` are dropped; the lower edges belong to it.

    Attributes:
        range_m: x_min y_min z_min x_max y_max z_max; None keeps all.
    """

    sweeps: int
    every: int
    remove_close_m: float
    range_m: tuple[float, ...] | None

    def __post_init__(self) -> None:
        if self.sweeps < 0 or self.every < 1 or self.remove_close_m < 0:
            raise ValueError(f"sweeps, every or remove_close_m is too small: {self}")
        if self.range_m is not None and len(self.range_m) != 6:
            raise ValueError(f"range_m needs six numbers, got {self.range_m}")


@dataclass(frozen=True)
class ImagePreprocessing:
    """A recorded image to the network's.

    Decoded as RGB at the smallest of 1, 1/2, 1/4, 1/8 size with at least `decode_min_hw` rows and columns (JPEG: by the
    decoder's own scaled inverse DCT; PNG: by the mean of the four middle pixels of each square; None decodes in full).
    Then resized about the corner of the corner pixel: at `scale` 1 the full width fits; of what is left over, the
    fractions crop_x and crop_y are cut off left and on top; outside the image it is black. Bilinear, at positions
    rounded to 1/32 of a pixel, as OpenCV's warpAffine. The network subtracts the mean and divides by the deviation.

    Attributes:
        size_hw: rows and columns of the network's image, px.
        decode_min_hw: see above.
        scale, crop_x, crop_y: see above.
    """

    size_hw: tuple[int, int]
    decode_min_hw: tuple[int, int] | None
    scale: float
    crop_x: float
    crop_y: float

    def __post_init__(self) -> None:
        if min(self.size_hw) < 1 or not self.scale > 0:
            raise ValueError(f"size_hw and scale must be positive: {self}")


def index_numbers(network: PerceptionNetwork) -> dict[str, Any]:
    """What csrc/kernels/onnx_inputs.h asks for to make an ONNX graph's index tensors, beside the manifest's grid, which
    the voxels are of: `windows` of a LiDAR branch, `frustum` of a camera branch."""
    numbers: dict[str, Any] = {}
    if network.lidar is not None and isinstance(sst := network.lidar.backbone, SST):
        numbers["windows"] = {"shape_zyx": list(sst.grid), "window_zyx": list(sst.window)}
    if network.camera is not None:
        lift, grid = network.camera.lift, network.camera.lift.grid
        numbers["frustum"] = {
            "grid": {
                "range_m": list(grid.point_cloud_range),
                "cell_m": list(grid.cell_m),
                "shape_zyx": list(grid.shape),
            },
            "depth_near_m": lift.near_m,
            "depth_bin_m": lift.step_m,
            "depth_bins": lift.depth_bins,
            "stride": lift.stride,
        }
    return numbers

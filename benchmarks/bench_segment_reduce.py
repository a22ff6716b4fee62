"""segment_reduce over the voxels of 300,000 points with 64 channels, against index_add and scatter_reduce.

Floor: the values of the grouped points, their order and the result once through memory at copy bandwidth.
"""

from __future__ import annotations

import torch
from gpu_cases import scene_points
from timing import bytes_of, compare, copy_bandwidth
from torch import Tensor

from perception.ops.segment_reduce import Reduction, segment_reduce
from perception.ops.voxelize import voxelize

POINTS, CHANNELS = 300_000, 64


def main() -> None:
    points = scene_points(POINTS, "cpu")
    batch = torch.zeros(POINTS, dtype=torch.int64)
    voxels = voxelize(points, batch, 1, (-51.2, -51.2, -5.0), (0.32, 0.32, 8.0), (1, 320, 320))
    values = torch.randn(POINTS, CHANNELS, generator=torch.Generator().manual_seed(0))
    inside = voxels.point_voxel >= 0
    rows, segment, count = values[inside], voxels.point_voxel[inside], len(voxels.coords)
    spread = segment[:, None].expand(-1, CHANNELS)

    def other(reduce: Reduction) -> Tensor:
        out = values.new_zeros(count, CHANNELS)
        if reduce == "max":
            return out.scatter_reduce(0, spread, rows, "amax", include_self=False)
        return out.index_add(0, segment, rows) / torch.bincount(segment, minlength=count).unsqueeze(1)

    floor_ms = 1e3 * (bytes_of(rows, segment, voxels.offsets) + 4 * count * CHANNELS) / copy_bandwidth()
    reductions: tuple[tuple[Reduction, str], ...] = (("mean", "index_add"), ("max", "scatter_reduce"))
    for reduce, name in reductions:
        ours = segment_reduce(values, voxels.order, voxels.offsets, reduce)
        torch.testing.assert_close(ours, other(reduce), rtol=1e-5, atol=1e-5)
        compare(
            f"segment_reduce ({reduce})",
            lambda kind=reduce: segment_reduce(values, voxels.order, voxels.offsets, kind),
            lambda kind=reduce: other(kind),
            name,
            floor_ms,
        )


if __name__ == "__main__":
    main()

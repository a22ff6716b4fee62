"""Least cost paths from many sources over the pixels of images (Dijkstra, 1959), on the 8-neighbour grid."""

from __future__ import annotations

import torch
from torch import Tensor

# Row and column steps of the edges in `costs`; each edge stands at its upper (for the first its left) end.
EDGES = ((0, 1), (1, 0), (1, 1), (1, -1))


def least_cost_paths(
    costs: Tensor,  # [B,4,H,W] float32 or float64
    sources: Tensor,  # [S,3] int64: image, row, column
) -> tuple[Tensor, Tensor]:  # [B,H,W] like costs, [B,H,W] int32
    """Cost of the cheapest way to every pixel, and the source that it starts from.

    Of equally cheap sources the first in `sources` wins, so that the result is the same on every device and with any
    number of threads. No gradient passes.

    Args:
        costs: of going between pixel (y, x) and (y, x) + EDGES[k], in either direction; what leaves the image is not
            read. Infinite, negative, or NaN: there is no way.

    Returns:
        The distance, infinite where no source is reached, and the row in `sources`, -1 there.

    Raises:
        ValueError: shapes, types or devices are others, or a source lies outside its image.
    """
    if sources.ndim == 2 and sources.shape[1] == 3 and costs.ndim == 4:
        size = sources.new_tensor((costs.shape[0], *costs.shape[2:]))
        outside = ((sources < 0) | (sources >= size)).any(dim=1)
        if outside.any():
            first = int(outside.nonzero()[0, 0])
            raise ValueError(
                f"least_cost_paths: source {first}, (image, row, column) {tuple(sources[first].tolist())}, lies "
                f"outside {costs.shape[0]} images of {costs.shape[2]} rows and {costs.shape[3]} columns"
            )
    distance, nearest = torch.ops.perception.least_cost_paths(costs, sources)
    return distance, nearest


@torch.library.register_fake("perception::least_cost_paths")
def _(costs: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    shape = (costs.shape[0], *costs.shape[2:])
    return costs.new_empty(shape), sources.new_empty(shape, dtype=torch.int32)

"""least_cost_paths of a 128x352 map with 40 sources, against scipy's Dijkstra in its fastest form: one pass from all
sources that returns distance and nearest source (min_only), on a graph that is built beforehand.

Floor: costs in, distances and sources out, at copy bandwidth.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from timing import bytes_of, compare, copy_bandwidth
from torch import Tensor

from perception.ops.least_cost_paths import EDGES, least_cost_paths

HEIGHT, WIDTH, SOURCES = 128, 352, 40


def graph_of(costs: Tensor) -> object:
    """scipy's matrix of the grid of costs [4,H,W], both ways."""
    number = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    rows, columns, values = [], [], []
    for (down, right), cost in zip(EDGES, costs.double().numpy(), strict=True):
        kept = (slice(0, HEIGHT - down), slice(max(-right, 0), WIDTH - max(right, 0)))
        rows.append(number[kept].ravel())
        columns.append(number[kept].ravel() + down * WIDTH + right)
        values.append(cost[kept].ravel())
    a, b, value = np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
    both = (np.concatenate((value, value)), (np.concatenate((a, b)), np.concatenate((b, a))))
    return coo_matrix(both, (number.size,) * 2).tocsr()


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    costs = torch.rand(1, 4, HEIGHT, WIDTH, generator=generator) + 1e-3
    place = torch.randperm(HEIGHT * WIDTH, generator=generator)[:SOURCES]
    sources = torch.stack((torch.zeros_like(place), place // WIDTH, place % WIDTH), dim=1)
    graph, indices = graph_of(costs[0]), place.numpy()

    def theirs() -> tuple[np.ndarray, np.ndarray]:
        distance, _, nearest = dijkstra(graph, indices=indices, min_only=True, return_predecessors=True)
        return distance, nearest

    distance, nearest = least_cost_paths(costs.double(), sources)
    expected = theirs()
    if not np.array_equal(distance.numpy().ravel(), expected[0]):
        raise RuntimeError("scipy finds other distances")
    if not np.array_equal(indices[nearest.numpy().ravel()], expected[1]):
        raise RuntimeError("scipy finds other sources")
    floor_ms = 1e3 * bytes_of(costs, sources, distance.float(), nearest) / copy_bandwidth()
    compare(
        "least_cost_paths",
        lambda: least_cost_paths(costs, sources),
        theirs,
        "scipy dijkstra, min_only",
        floor_ms,
        repeats=100,
    )


if __name__ == "__main__":
    main()

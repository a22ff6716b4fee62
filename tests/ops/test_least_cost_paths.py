"""least_cost_paths against scipy's Dijkstra on the same graph."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from perception.ops.least_cost_paths import EDGES, least_cost_paths


def twin(costs: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Distances [S,H,W] float64 from each source (row, column), costs [4,H,W] positive."""
    _, height, width = costs.shape
    number = np.arange(height * width).reshape(height, width)
    rows, columns, values = [], [], []
    for (down, right), cost in zip(EDGES, costs, strict=True):
        left = slice(max(-right, 0), width - max(right, 0))
        rows.append(number[: height - down, left].ravel())
        columns.append((number[: height - down, left] + down * width + right).ravel())
        values.append(cost[: height - down, left].ravel())
    graph = coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (number.size,) * 2)
    places = number[sources[:, 0], sources[:, 1]]
    return dijkstra(graph.tocsr(), directed=False, indices=places).reshape(-1, height, width)


def scene(images: int, height: int, width: int, count: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    costs = torch.rand(images, 4, height, width, generator=generator, dtype=torch.float64) + 1e-3
    place = torch.randperm(images * height * width, generator=generator)[:count]
    image, pixel = place // (height * width), place % (height * width)
    return costs.to(device), torch.stack((image, pixel // width, pixel % width), dim=1).to(device)


@pytest.mark.parametrize(
    ("height", "width", "count"), [(1, 1, 1), (1, 40, 3), (40, 1, 3), (23, 61, 12), (128, 352, 40)]
)
def test_equals_scipy(height: int, width: int, count: int, device: str) -> None:
    costs, sources = scene(1, height, width, count, device)
    distance, nearest = least_cost_paths(costs, sources)
    each = twin(costs[0].cpu().numpy(), sources[:, 1:].cpu().numpy())
    # The same sums in the same order, from the source outwards: not a bit differs.
    assert np.array_equal(distance[0].cpu().numpy(), each.min(axis=0))
    assert np.array_equal(nearest[0].cpu().numpy(), each.argmin(axis=0))


def test_images_do_not_touch_each_other(device: str) -> None:
    costs, sources = scene(3, 9, 14, 8, device)
    sources = sources[sources[:, 0] != 1]  # the middle image has no source
    distance, nearest = least_cost_paths(costs.float(), sources)
    assert torch.isinf(distance[1]).all() and (nearest[1] == -1).all()
    for image in (0, 2):
        own = (sources[:, 0] == image).nonzero().flatten()
        alone = sources[own] * sources.new_tensor([0, 1, 1])
        expected, row = least_cost_paths(costs[image : image + 1].float(), alone)
        assert torch.equal(distance[image], expected[0])
        assert torch.equal(nearest[image], own[row[0].long()].int())


def test_equally_near_sources_and_walls(device: str) -> None:
    costs = torch.ones(1, 4, 1, 7, device=device)
    sources = torch.tensor([[0, 0, 4], [0, 0, 0], [0, 0, 4]], device=device)
    distance, nearest = least_cost_paths(costs, sources)
    assert distance[0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2]
    assert nearest[0, 0].tolist() == [1, 1, 0, 0, 0, 0, 0]
    costs[0, 0, 0, 2], costs[0, 0, 0, 4], costs[0, 0, 0, 5] = float("nan"), -1.0, float("inf")
    distance, nearest = least_cost_paths(costs, sources)
    assert nearest[0, 0].tolist() == [1, 1, 1, 0, 0, -1, -1]
    assert distance[0, 0].tolist() == [0, 1, 2, 1, 0, float("inf"), float("inf")]


def test_the_number_of_threads_does_not_matter(keep_threads: None) -> None:
    costs, sources = scene(5, 20, 30, 25)
    costs = (costs * 4).floor()  # many equal ways
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(least_cost_paths(costs, sources))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_empty_and_strided() -> None:
    costs, sources = scene(2, 6, 8, 4)
    assert (least_cost_paths(costs, sources[:0])[1] == -1).all()
    assert least_cost_paths(costs[:0], sources[:0])[0].shape == (0, 6, 8)
    turned = costs.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(least_cost_paths(turned, sources)[0], least_cost_paths(costs, sources)[0])


def test_registered_correctly() -> None:
    torch.library.opcheck(torch.ops.perception.least_cost_paths.default, scene(2, 5, 6, 4))


def test_bad_input_is_refused() -> None:
    costs, sources = scene(1, 5, 6, 2)
    with pytest.raises(ValueError, match=r"costs must be \[B,4,H,W\]"):
        least_cost_paths(costs[:, :3], sources)
    with pytest.raises(ValueError, match="float32 or float64"):
        least_cost_paths(costs.half(), sources)
    with pytest.raises(ValueError, match=r"sources must be \[S,3\] int64"):
        least_cost_paths(costs, sources.int())
    for row, outside in enumerate(([1, 0, 0], [0, 5, 0], [0, 0, -1])):
        moved = torch.cat((sources[:row], torch.tensor([outside])))
        with pytest.raises(ValueError, match=rf"source {row}, .* lies outside 1 images of 5 rows and 6 columns"):
            least_cost_paths(costs, moved)

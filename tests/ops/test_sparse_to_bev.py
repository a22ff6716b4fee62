"""sparse_to_bev against a loop over tokens; gradients against finite differences."""

import pytest
import torch
from torch import Tensor

from perception.ops.sparse_to_bev import sparse_to_bev


def slow_bev(features: Tensor, coords: Tensor, batch_size: int, grid: tuple[int, int, int]) -> Tensor:
    depth, rows, columns = grid
    bev = features.new_zeros((batch_size, features.shape[1] * depth, rows, columns))
    for feature, (b, z, y, x) in zip(features, coords.tolist(), strict=True):
        for c in range(features.shape[1]):
            bev[b, c * depth + z, y, x] = feature[c]
    return bev


def random_coords(count: int, batch_size: int, grid: tuple[int, int, int], device: str = "cpu") -> Tensor:
    cells = batch_size * grid[0] * grid[1] * grid[2]
    flat = torch.randperm(cells, generator=torch.Generator().manual_seed(0))[:count]
    return torch.stack(torch.unravel_index(flat, (batch_size, *grid)), 1).int().reshape(-1, 4).to(device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("count", "channels", "batch_size", "grid"),
    [
        (0, 3, 2, (1, 5, 7)),
        (1, 1, 1, (1, 1, 1)),
        (130, 5, 3, (2, 9, 11)),
        (63, 17, 1, (1, 13, 5)),
        (0, 4, 0, (1, 2, 2)),
    ],
)
def test_equals_a_loop_over_tokens(
    dtype: torch.dtype, count: int, channels: int, batch_size: int, grid: tuple[int, int, int], device: str
) -> None:
    features = torch.randn(count, channels, device=device).to(dtype)
    coords = random_coords(count, batch_size, grid, device)
    bev = sparse_to_bev(features, coords, batch_size, grid)
    assert bev.shape == (batch_size, channels * grid[0], *grid[1:]) and bev.dtype == dtype
    assert torch.equal(bev, slow_bev(features, coords, batch_size, grid))


def test_every_cell_filled(device: str) -> None:
    grid = (3, 8, 7)
    features = torch.randn(2 * 3 * 8 * 7, 4, device=device)
    coords = random_coords(len(features), 2, grid, device)
    assert torch.equal(sparse_to_bev(features, coords, 2, grid), slow_bev(features, coords, 2, grid))


def test_sixty_thousand_tokens_come_back(device: str) -> None:
    grid = (1, 360, 360)
    features = torch.randn(60_000, 8, device=device)
    coords = random_coords(60_000, 2, grid, device)
    bev = sparse_to_bev(features, coords, 2, grid)
    b, z, y, x = coords.long().unbind(1)
    assert torch.equal(bev.view(2, 8, 1, 360, 360)[b, :, z, y, x], features)
    assert int((bev != 0).sum()) == int((features != 0).sum())


def test_non_contiguous_tensors(device: str) -> None:
    grid = (1, 9, 9)
    features = torch.randn(6, 80, device=device).t()[::2, 1:4]
    coords = random_coords(80, 1, grid, device)[::2]
    assert torch.equal(sparse_to_bev(features, coords, 1, grid), slow_bev(features, coords, 1, grid))


@pytest.mark.parametrize(("count", "channels"), [(0, 2), (1, 1), (40, 3)])
def test_gradients(count: int, channels: int, device: str) -> None:
    grid = (2, 5, 6)
    coords = random_coords(count, 2, grid, device)
    features = torch.randn(count, channels, dtype=torch.float64, device=device, requires_grad=True)
    torch.autograd.gradcheck(lambda f: sparse_to_bev(f, coords, 2, grid), (features,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gradient_is_the_map_read_at_the_tokens(dtype: torch.dtype, device: str) -> None:
    grid = (2, 30, 31)
    coords = random_coords(1000, 2, grid, device)
    features = torch.randn(1000, 19, device=device).to(dtype).requires_grad_()
    # Gradients often arrive in another layout.
    grad = torch.randn(2, 30, 31, 38, device=device).to(dtype).permute(0, 3, 1, 2)
    sparse_to_bev(features, coords, 2, grid).backward(grad)
    b, z, y, x = coords.long().unbind(1)
    assert torch.equal(features.grad, grad.reshape(2, 19, 2, 30, 31)[b, :, z, y, x])


def test_results_do_not_depend_on_threads(keep_threads: None) -> None:
    features, coords = torch.randn(3000, 20), random_coords(3000, 2, (1, 60, 60))
    results = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        results.append(sparse_to_bev(features, coords, 2, (1, 60, 60)))
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_refuses_bad_arguments() -> None:
    grid = (1, 4, 4)
    features, coords = torch.ones(5, 2), random_coords(5, 1, grid)
    with pytest.raises(ValueError, match=r"\[V,C\] and \[V,4\]"):
        sparse_to_bev(features, coords[:4], 1, grid)
    with pytest.raises(ValueError, match="int32"):
        sparse_to_bev(features, coords.long(), 1, grid)
    with pytest.raises(ValueError, match="must be positive"):
        sparse_to_bev(features, coords, 1, (1, 0, 4))
    coords[0, 3], coords[1, 0] = 4, -1
    with pytest.raises(ValueError, match="2 of 5 coords lie outside the grid"):
        sparse_to_bev(features, coords, 1, grid)


@pytest.mark.parametrize("count", [0, 1, 12])
def test_opcheck(count: int, device: str) -> None:
    grid = [2, 5, 6]
    coords = random_coords(count, 2, (2, 5, 6), device)
    features = torch.randn(count, 3, device=device, requires_grad=True)
    torch.library.opcheck(torch.ops.perception.sparse_to_bev, (features, coords, 2, grid))
    grad = torch.randn(2, 6, 5, 6, device=device)
    torch.library.opcheck(torch.ops.perception.sparse_to_bev_backward, (grad, coords, grid))

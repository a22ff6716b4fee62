"""bev_pool against a twin that builds the whole frustum of features."""

import pytest
import torch
from torch import Tensor

from perception.ops.bev_pool import bev_pool, pool_index, repeat_views


def twin(features: Tensor, depth: Tensor, cell: Tensor, num_cells: int) -> Tensor:
    """The sum over [M,D,H,W,C] weighted features, in float64."""
    frustum = depth.double()[..., None] * features.double()[:, None]
    inside = cell >= 0
    out = torch.zeros(num_cells, features.shape[3], dtype=torch.float64)
    return out.index_add(0, cell[inside], frustum[inside])


def random_input(
    shape: tuple[int, int, int, int], channels: int, num_cells: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape) + channels)
    views, _, height, width = shape
    features = torch.randn((views, height, width, channels), generator=generator).to(dtype)
    depth = torch.rand(shape, generator=generator).to(dtype)
    return features, depth, torch.randint(-1, num_cells, shape, generator=generator)


def assert_equals_twin(features: Tensor, depth: Tensor, cell: Tensor, num_cells: int, relative: float = 1e-5) -> None:
    out = bev_pool(features, depth, pool_index(cell, num_cells), num_cells)
    assert out.dtype == features.dtype
    expected = twin(features, depth, cell, num_cells)
    # The error of a sum is relative to the sum of magnitudes.
    scale = twin(features.abs(), depth.abs(), cell, num_cells) + 1e-30
    error = (out.double() - expected).abs() / scale
    assert error.numel() == 0 or error.max() < relative


SHAPES = [
    ((2, 5, 3, 7), 13, 11),
    ((1, 1, 1, 1), 1, 1),
    ((6, 9, 8, 22), 80, 400),
    ((3, 4, 5, 6), 129, 50_000),
    ((2, 3, 4, 5), 16, 1),
    ((1, 40, 16, 40), 3, 7),
    ((0, 5, 3, 7), 4, 9),
    ((2, 5, 3, 7), 0, 9),
]


@pytest.mark.parametrize(("shape", "channels", "num_cells"), SHAPES)
def test_equals_twin(shape: tuple[int, int, int, int], channels: int, num_cells: int) -> None:
    assert_equals_twin(*random_input(shape, channels, num_cells), num_cells)


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3), (torch.float64, 1e-14)])
def test_other_types_are_summed_in_at_least_float32(dtype: torch.dtype, relative: float) -> None:
    assert_equals_twin(*random_input((2, 30, 8, 16), 24, 5, dtype), 5, relative)


def test_all_points_in_one_cell_and_none() -> None:
    features, depth, cell = random_input((4, 20, 16, 16), 8, 9)
    assert_equals_twin(features, depth, torch.full_like(cell, 4), 9)
    assert_equals_twin(features, depth, torch.full_like(cell, -1), 9)


def test_non_contiguous_views() -> None:
    features, depth, cell = random_input((2, 6, 8, 10), 12, 30)
    strided = features.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    assert not strided.is_contiguous()
    wide = torch.stack((depth, depth), dim=-1)[..., 0]
    assert_equals_twin(strided, wide, cell.transpose(2, 3).contiguous().transpose(2, 3), 30)


def test_index_groups_points_by_cell_in_ascending_order() -> None:
    _, _, cell = random_input((3, 7, 5, 9), 1, 40)
    index = pool_index(cell, 40)
    flat = cell.flatten()
    order = torch.argsort(torch.where(flat < 0, 40, flat), stable=True)
    assert torch.equal(index.point.long(), order)
    view, rest = order // (7 * 45), order % 45
    assert torch.equal(index.pixel.long(), view * 45 + rest)
    counts = torch.bincount(flat[flat >= 0], minlength=40)
    assert torch.equal(index.offsets.long().diff(), counts)
    assert torch.equal(index.cell.long(), cell)


@pytest.mark.parametrize("times", [1, 3])
def test_an_index_of_repeated_views_pools_what_a_new_one_does(times: int) -> None:
    _, _, cell = random_input((2, 7, 5, 9), 1, 40)
    again = cell.repeat(times, 1, 1, 1)
    features, depth, _ = random_input((2 * times, 7, 5, 9), 6, 40, torch.float64)
    expected, got = pool_index(again, 40), repeat_views(pool_index(cell, 40), times)
    assert all(a.dtype == b.dtype and a.shape == b.shape for a, b in zip(expected, got, strict=True))
    assert torch.equal(expected.offsets, got.offsets) and torch.equal(expected.cell, got.cell)
    torch.testing.assert_close(bev_pool(features, depth, got, 40), twin(features, depth, again, 40))


def test_cells_past_the_end_are_outside() -> None:
    features, depth, cell = random_input((1, 4, 4, 4), 3, 20)
    out = bev_pool(features, depth, pool_index(cell, 10), 10)
    expected = twin(features, depth, torch.where(cell < 10, cell, -1), 10)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-6)


def test_gradients() -> None:
    features, depth, cell = random_input((2, 3, 2, 4), 5, 6, torch.float64)
    index = pool_index(cell, 6)
    inputs = (features.requires_grad_(), depth.requires_grad_())
    assert torch.autograd.gradcheck(lambda f, d: bev_pool(f, d, index, 6), inputs)


def test_gradients_equal_those_of_the_twin_in_float32() -> None:
    features, depth, cell = random_input((2, 9, 8, 11), 80, 33)
    inputs = (features.requires_grad_(), depth.requires_grad_())
    weight = torch.randn(33, 80, generator=torch.Generator().manual_seed(0))
    ours = torch.autograd.grad((bev_pool(*inputs, pool_index(cell, 33), 33) * weight).sum(), inputs)
    expected = torch.autograd.grad((twin(*inputs, cell, 33) * weight).sum(), inputs)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_same_bits_for_any_number_of_threads() -> None:
    features, depth, cell = random_input((2, 30, 16, 16), 20, 3)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(bev_pool(features, depth, pool_index(cell, 3), 3))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_registered_correctly() -> None:
    features, depth, cell = random_input((2, 3, 4, 5), 6, 7)
    torch.library.opcheck(torch.ops.perception.pool_index.default, (cell, 7))
    inputs = (features.requires_grad_(), depth.requires_grad_(), *pool_index(cell, 7))
    torch.library.opcheck(torch.ops.perception.bev_pool.default, inputs)
    grad = torch.randn(7, 6)
    torch.library.opcheck(
        torch.ops.perception.bev_pool_backward.default, (grad, features.detach(), depth.detach(), inputs[-1])
    )


def test_bad_input_is_refused() -> None:
    features, depth, cell = random_input((2, 3, 4, 5), 6, 7)
    index = pool_index(cell, 7)
    with pytest.raises(ValueError, match="made for 7 cells"):
        bev_pool(features, depth, index, 8)
    with pytest.raises(ValueError, match="disagree"):
        bev_pool(features[:1], depth, index, 7)
    with pytest.raises(ValueError, match="convert one of them"):
        bev_pool(features, depth.double(), index, 7)
    with pytest.raises(ValueError, match="the index was made for"):
        bev_pool(features, depth[:, :2], index, 7)
    with pytest.raises(ValueError, match="int64"):
        pool_index(cell.int(), 7)

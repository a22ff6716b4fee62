"""segment_reduce against a loop over segments; gradients against finite differences."""

import itertools

import pytest
import torch
from torch import Tensor

from perception.ops.segment_reduce import segment_reduce

REDUCTIONS = ("sum", "mean", "max")


def slow_reduce(values: Tensor, order: Tensor, offsets: Tensor, reduce: str) -> Tensor:
    """In float64, one segment at a time."""
    values = values.double().cpu()
    order, bounds = order.cpu(), offsets.tolist()
    rows = []
    for begin, end in itertools.pairwise(bounds):
        group = values[order[begin:end]]
        if begin == end:
            rows.append(values.new_zeros(values.shape[1]))
        else:
            rows.append({"sum": group.sum, "mean": group.mean, "max": group.amax}[reduce](0))
    return torch.stack(rows) if rows else values.new_zeros((0, values.shape[1]))


def random_segments(rows: int, segments: int, device: str, left_out: int = 0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Order and offsets of `segments` segments, some of them empty, with `left_out` rows in none."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(rows, generator=generator)
    cuts = torch.randint(0, rows - left_out + 1, (max(segments - 1, 0),), generator=generator).sort().values
    ends = torch.tensor([rows - left_out] if segments else [], dtype=torch.int64)
    return order.to(device), torch.cat((torch.zeros(1, dtype=torch.int64), cuts, ends)).to(device)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize(
    ("rows", "segments", "channels", "left_out"),
    [(0, 0, 3, 0), (5, 0, 3, 5), (1, 1, 1, 0), (7, 7, 5, 2), (1000, 300, 3, 10), (999, 100, 67, 0), (4000, 3, 130, 1)],
)
def test_matches_a_loop_over_segments(
    reduce: str, rows: int, segments: int, channels: int, left_out: int, device: str
) -> None:
    values = torch.randn(rows, channels, generator=torch.Generator().manual_seed(1)).to(device)
    order, offsets = random_segments(rows, segments, device, left_out)
    got = segment_reduce(values, order, offsets, reduce)
    want = slow_reduce(values, order, offsets, reduce)
    assert got.dtype == values.dtype and got.device == values.device
    torch.testing.assert_close(got.double().cpu(), want, rtol=1e-5, atol=1e-5 if device == "cuda" else 1e-6)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_accumulate_wider(reduce: str, dtype: torch.dtype, device: str) -> None:
    values = torch.rand(5000, 9, device=device).to(dtype)
    order, offsets = random_segments(5000, 20, device)
    got = segment_reduce(values, order, offsets, reduce)
    want = slow_reduce(values, order, offsets, reduce)
    tolerance = torch.finfo(dtype).eps if dtype != torch.float64 else 1e-12
    torch.testing.assert_close(got.double().cpu(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_one_segment_of_sixty_thousand_rows(reduce: str, device: str) -> None:
    values = torch.rand(60_000, 5, device=device) + 1
    order, offsets = random_segments(60_000, 1, device)
    got = segment_reduce(values, order, offsets, reduce)
    torch.testing.assert_close(got.double().cpu(), slow_reduce(values, order, offsets, reduce), rtol=1e-5, atol=0)


def test_non_contiguous_values(device: str) -> None:
    values = torch.rand(8, 300, device=device).t()[::2, :5]
    order, offsets = random_segments(150, 40, device)
    got = segment_reduce(values, order, offsets, "sum")
    torch.testing.assert_close(got.double().cpu(), slow_reduce(values, order, offsets, "sum"), rtol=1e-5, atol=1e-6)


def test_a_nan_stays_in_its_segment(device: str) -> None:
    values = torch.ones(6, 2, device=device)
    values[2, 0] = torch.nan
    order, offsets = torch.arange(6, device=device), torch.tensor([0, 2, 4, 6], device=device)
    for reduce in REDUCTIONS:
        assert segment_reduce(values, order, offsets, reduce).isnan().tolist() == [
            [False, False],
            [True, False],
            [False, False],
        ]


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize(("rows", "segments", "channels", "left_out"), [(30, 12, 3, 4), (1, 1, 1, 0), (90, 2, 70, 0)])
def test_gradients(reduce: str, rows: int, segments: int, channels: int, left_out: int, device: str) -> None:
    # Distinct values, far enough apart that finite differences do not change which one is the maximum.
    generator = torch.Generator().manual_seed(3)
    values = torch.randperm(rows * channels, generator=generator).reshape(rows, channels).double().to(device)
    order, offsets = random_segments(rows, segments, device, left_out)
    torch.autograd.gradcheck(
        lambda v: segment_reduce(v, order, offsets, reduce), (values.requires_grad_(),), fast_mode=True
    )


def test_gradient_of_a_maximum_goes_to_the_first_row_that_attains_it(device: str) -> None:
    values = torch.tensor([[1.0], [3.0], [3.0], [2.0], [9.0]], device=device, requires_grad=True)
    order, offsets = torch.tensor([3, 2, 1, 0, 4], device=device), torch.tensor([0, 4], device=device)
    segment_reduce(values, order, offsets, "max").sum().backward()
    assert values.grad.flatten().tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_in_half_precision(dtype: torch.dtype, device: str) -> None:
    order, offsets = random_segments(200, 30, device, left_out=5)
    generator = torch.Generator().manual_seed(4)
    values = torch.randperm(200, generator=generator).reshape(200, 1).to(device)  # exact in both types
    for reduce in REDUCTIONS:
        low, high = (values.to(t).requires_grad_() for t in (dtype, torch.float64))
        segment_reduce(low, order, offsets, reduce).sum().backward()
        segment_reduce(high, order, offsets, reduce).sum().backward()
        torch.testing.assert_close(low.grad.double(), high.grad, rtol=torch.finfo(dtype).eps, atol=0)


def test_results_do_not_depend_on_threads(keep_threads: None) -> None:
    values = torch.randn(20_000, 33)
    order, offsets = random_segments(20_000, 700, "cpu")
    grad = torch.randn(700, 33)

    def run(reduce: str, threads: int) -> tuple[Tensor, Tensor]:
        torch.set_num_threads(threads)
        leaf = values.clone().requires_grad_()
        out = segment_reduce(leaf, order, offsets, reduce)
        out.backward(grad)
        return out.detach(), leaf.grad

    for reduce in REDUCTIONS:
        alone = run(reduce, 1)
        for threads in (2, 5):
            assert all(torch.equal(a, b) for a, b in zip(run(reduce, threads), alone, strict=True))


def test_refuses_bad_arguments() -> None:
    values, order, offsets = torch.ones(4, 2), torch.arange(4), torch.tensor([0, 4])
    with pytest.raises(ValueError, match="sum, mean or max"):
        segment_reduce(values, order, offsets, "min")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="floating point"):
        segment_reduce(values.long(), order, offsets, "sum")
    with pytest.raises(ValueError, match=r"\[P\] and \[V\+1\]"):
        segment_reduce(values, order[:3], offsets, "sum")
    with pytest.raises(ValueError, match="int64"):
        segment_reduce(values, order.int(), offsets, "sum")


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_opcheck(reduce: str, device: str) -> None:
    order, offsets = random_segments(40, 9, device, left_out=3)
    values = torch.randn(40, 3, device=device, requires_grad=True)
    torch.library.opcheck(torch.ops.perception.segment_reduce, (values, order, offsets, reduce))
    out = segment_reduce(values, order, offsets, reduce).detach()
    torch.library.opcheck(
        torch.ops.perception.segment_reduce_backward,
        (torch.randn_like(out), order, offsets, reduce, values.detach(), out),
    )

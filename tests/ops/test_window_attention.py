"""window_attention against a loop over windows; gradients against finite differences and against the loop's."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from perception.ops.window_attention import window_attention


def slow_attention(
    q: Tensor, k: Tensor, v: Tensor, order: Tensor, offsets: Tensor, scale: float, temperature: Tensor | None = None
) -> Tensor:
    """In float64, one window at a time."""
    q, k, v = (x.double().cpu() for x in (q, k, v))
    rows = list(0 * v)
    for begin, end in itertools.pairwise(offsets.tolist()):
        tokens = order[begin:end].tolist()
        if not tokens:
            continue
        q_w, k_w, v_w = (x[tokens].transpose(0, 1) for x in (q, k, v))
        if temperature is None:
            logits = scale * q_w @ k_w.transpose(1, 2)
        else:
            cosine = F.normalize(q_w, dim=-1) @ F.normalize(k_w, dim=-1).transpose(1, 2)
            logits = cosine / temperature.double().cpu()[:, None, None]
        out = (logits.softmax(-1) @ v_w).transpose(0, 1)
        for token, row in zip(tokens, out, strict=True):
            rows[token] = row
    return torch.stack(rows) if rows else 0 * v


WINDOWS = {
    "no tokens, no windows": ([], 0),
    "no tokens, empty windows": ([0, 0], 0),
    "no windows": ([], 5),
    "one token": ([1], 0),
    "one token per window": ([1] * 40, 0),
    "a full window": ([144], 0),
    "full windows": ([144, 144, 144], 0),
    "one more than a full window": ([145], 2),
    "empty windows": ([0, 3, 0, 0, 7, 0], 0),
    "tokens in no window": ([5, 1], 11),
    "sizes about a vector's": ([7, 8, 9, 15, 16, 17, 31, 32, 33], 1),
    "two tiles and more": ([300, 2, 611], 0),
}


def windows_of(name: str, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Shuffled order, and offsets."""
    lengths, in_none = WINDOWS[name]
    order = torch.randperm(sum(lengths) + in_none, generator=torch.Generator().manual_seed(0))
    offsets = torch.tensor([0, *itertools.accumulate(lengths)])
    return order.to(device), offsets.to(device)


def inputs_of(
    tokens: int, heads: int, channels: int, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Tensor:
    """[4,T,heads,D]: q, k, v and the gradient of the output, of about the same size as in a network."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, tokens, heads, channels, generator=generator).to(device, dtype)


def temperature_of(
    heads: int, cosine: bool, device: str = "cpu", least: float = 0.05, dtype: torch.dtype = torch.float32
) -> Tensor | None:
    return torch.linspace(least, 1.5, heads, dtype=dtype, device=device) if cosine else None


def assert_close(value: Tensor, expected: Tensor, relative: float) -> None:
    """Within `relative` of the largest expected value."""
    assert value.shape == expected.shape
    if expected.numel():
        assert (value.double().cpu() - expected).abs().max() <= relative * expected.abs().max() + 1e-30


def gradients(out: Tensor, leaves: list[Tensor], grad: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(out, leaves, grad, materialize_grads=True))


def compare(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grad: Tensor,
    order: Tensor,
    offsets: Tensor,
    temperature: Tensor | None,
    relative: float,
) -> None:
    """Output and all gradients against the loop's, with the same values in float64."""
    scale = q.shape[2] ** -0.5
    leaves = [x.detach().requires_grad_() for x in (q, k, v, *(() if temperature is None else (temperature,)))]
    twins = [x.detach().double().cpu().requires_grad_() for x in leaves]
    forms = [[*x[:3], order, offsets, scale, x[3] if temperature is not None else None] for x in (leaves, twins)]
    out, expected = window_attention(*forms[0]), slow_attention(*forms[1])
    assert out.dtype == q.dtype and out.device == q.device
    assert_close(out, expected, relative)
    got, want = gradients(out, leaves, grad), gradients(expected, twins, grad.double().cpu())
    for value, true, leaf in zip(got, want, leaves, strict=True):
        assert value.dtype == leaf.dtype
        # A temperature's gradient adds up, over all tokens, terms of about 1 / temperature^2 that nearly cancel.
        noise = 0.0
        if leaf is leaves[-1] and temperature is not None and len(order):
            noise = torch.finfo(torch.float32).eps * len(order) ** 0.5 / float(temperature.min()) ** 2
        # Gradients that vanish, as where every window has one token, are roundings of terms of up to 1 / temperature.
        size = float(true.abs().max()) if true.numel() else 0.0
        torch.testing.assert_close(
            value.double().cpu(), true, rtol=0, atol=4 * (relative * (size if size > 1e-9 else 20) + noise)
        )


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("name", WINDOWS)
def test_matches_a_loop_over_windows(name: str, cosine: bool, device: str) -> None:
    order, offsets = windows_of(name, device)
    q, k, v, grad = inputs_of(len(order), 3, 16, device=device)
    compare(q, k, v, grad, order, offsets, temperature_of(3, cosine, device), 1e-5)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize(
    ("heads", "channels"), [(8, 8), (8, 16), (8, 24), (4, 32), (1, 1), (2, 5), (1, 17), (3, 40), (1, 130)]
)
def test_head_widths(heads: int, channels: int, cosine: bool, device: str) -> None:
    order, offsets = windows_of("sizes about a vector's", device)
    q, k, v, grad = inputs_of(len(order), heads, channels, device=device)
    compare(q, k, v, grad, order, offsets, temperature_of(heads, cosine, device), 1e-5)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize(
    ("dtype", "relative"), [(torch.float64, 1e-12), (torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)]
)
def test_other_dtypes(dtype: torch.dtype, relative: float, cosine: bool, device: str) -> None:
    order, offsets = windows_of("two tiles and more", device)
    q, k, v, grad = inputs_of(len(order), 2, 16, dtype, device)
    # The lower the temperature, the more its gradient suffers from the rounding of the output.
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    compare(q, k, v, grad, order, offsets, temperature_of(2, cosine, device, 0.5, wide), relative)


def test_sixty_thousand_tokens(device: str) -> None:
    lengths = torch.randint(1, 145, (2000,), generator=torch.Generator().manual_seed(2))
    ends = lengths.cumsum(0)
    ends = ends[ends < 60_000]
    order = torch.randperm(60_000, generator=torch.Generator().manual_seed(3)).to(device)
    offsets = torch.cat((ends.new_zeros(1), ends, ends.new_tensor([60_000]))).to(device)
    q, k, v, grad = inputs_of(60_000, 2, 16, device=device)
    compare(q, k, v, grad, order, offsets, None, 1e-5)


def test_a_window_of_thousands(device: str) -> None:
    order, offsets = torch.arange(5000, device=device), torch.tensor([0, 5000], device=device)
    q, k, v, grad = inputs_of(5000, 1, 8, device=device)
    compare(q, k, v, grad, order, offsets, None, 1e-5)


@pytest.mark.parametrize("cosine", [False, True])
def test_views_of_packed_projections(cosine: bool, device: str) -> None:
    order, offsets = windows_of("sizes about a vector's", device)
    tokens = len(order)
    generator = torch.Generator().manual_seed(2)
    packed = torch.randn(2 * tokens, 2, 3, 16, generator=generator).to(device)[::2]  # rows apart
    v = torch.randn(3, 16, tokens, generator=generator).to(device).permute(2, 0, 1)  # nothing beside anything
    grad = torch.randn(1, 1, 1, generator=generator).to(device).expand(tokens, 3, 16)
    compare(packed[:, 0], packed[:, 1], v, grad, order, offsets, temperature_of(3, cosine, device), 1e-5)


def test_strided_order_and_offsets(device: str) -> None:
    order, offsets = windows_of("empty windows", device)
    q, k, v, _ = inputs_of(len(order), 2, 8, device=device)
    wide_order, wide_offsets = (torch.stack((x, x + 1), dim=1)[:, 0] for x in (order, offsets))
    assert torch.equal(
        window_attention(q, k, v, wide_order, wide_offsets, 1.0), window_attention(q, k, v, order, offsets, 1.0)
    )


def test_large_logits_do_not_overflow(device: str) -> None:
    order, offsets = windows_of("two tiles and more", device)
    q, k, v, _ = inputs_of(len(order), 2, 16, device=device)
    out = window_attention(100 * q, 100 * k, v, order, offsets, 1.0)
    assert_close(out, slow_attention(100 * q, 100 * k, v, order, offsets, 1.0), 1e-3)


def test_equal_tokens_attend_equally(device: str) -> None:
    order, offsets = torch.arange(200, device=device), torch.tensor([0, 200], device=device)
    q = torch.ones(200, 2, 8, device=device)
    v = torch.randn(200, 2, 8, device=device)
    out = window_attention(q, q, v, order, offsets, 1.0)
    assert_close(out, v.double().cpu().mean(0, keepdim=True).expand(200, 2, 8), 1e-5)


def test_a_nan_stays_in_its_window(device: str) -> None:
    order, offsets = torch.arange(6, device=device), torch.tensor([0, 3, 6], device=device)
    q, k, v, _ = inputs_of(6, 1, 4, device=device)
    k[1] = torch.nan
    out = window_attention(q, k, v, order, offsets, 1.0)
    assert out.isnan().flatten(1).all(1).tolist() == [True] * 3 + [False] * 3
    assert not out[3:].isnan().any()


def test_vectors_of_length_zero_in_the_cosine_form(device: str) -> None:
    order, offsets = torch.arange(5, device=device), torch.tensor([0, 5], device=device)
    q, k, v, grad = inputs_of(5, 2, 4, device=device)
    q[2], k[3] = 0, 0
    compare(q, k, v, grad, order, offsets, temperature_of(2, True, device), 1e-5)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("name", ["one token per window", "empty windows", "tokens in no window", "a full window"])
def test_gradients_by_finite_differences(name: str, cosine: bool, device: str) -> None:
    order, offsets = windows_of(name, device)
    q, k, v = (x.requires_grad_() for x in inputs_of(len(order), 2, 3, torch.float64, device)[:3].unbind(0))
    temperature = torch.tensor([0.3, 0.9], dtype=torch.float64, device=device, requires_grad=True) if cosine else None
    torch.autograd.gradcheck(
        lambda *x: window_attention(*x[:3], order, offsets, 0.7, x[3] if cosine else None),
        (q, k, v, temperature) if cosine else (q, k, v),
        fast_mode=len(order) > 20,
    )


def test_temperature_keeps_its_dtype(device: str) -> None:
    order, offsets = windows_of("empty windows", device)
    q, k, v, grad = inputs_of(len(order), 2, 8, torch.bfloat16, device)
    temperature = torch.tensor([0.5, 1.0], dtype=torch.bfloat16, device=device, requires_grad=True)
    window_attention(q, k, v, order, offsets, 1.0, temperature).backward(grad)
    assert temperature.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("cosine", [False, True])
def test_results_do_not_depend_on_threads(cosine: bool, keep_threads: None) -> None:
    order, offsets = windows_of("two tiles and more")
    temperature = temperature_of(4, cosine)
    *values, grad = inputs_of(len(order), 4, 16).unbind(0)

    def run(threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        leaves = [x.clone().requires_grad_() for x in (*values, *(() if temperature is None else (temperature,)))]
        out = window_attention(*leaves[:3], order, offsets, 0.25, leaves[3] if cosine else None)
        return [out.detach(), *gradients(out, leaves, grad)]

    alone = run(1)
    for threads in (2, 3, 7):
        assert all(torch.equal(a, b) for a, b in zip(run(threads), alone, strict=True))


def test_compiles_without_graph_breaks(device: str) -> None:
    order, offsets = windows_of("empty windows", device)
    q, k, v, grad = inputs_of(len(order), 2, 8, device=device)
    temperature = temperature_of(2, True, device)

    def loss(q: Tensor, temperature: Tensor) -> Tensor:
        return (window_attention(2 * q, k, v, order, offsets, 1.0, temperature) * grad).sum()

    results = []
    for form in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaves = [q.clone().requires_grad_(), temperature.clone().requires_grad_()]
        results.append(torch.autograd.grad(form(*leaves), leaves))
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(plain, compiled)


def test_refuses_bad_arguments(device: str) -> None:
    order, offsets = torch.arange(6, device=device), torch.tensor([0, 6], device=device)
    q = torch.ones(6, 2, 4, device=device)
    with pytest.raises(ValueError, match="one shape"):
        window_attention(q, q[:5], q, order, offsets, 1.0)
    with pytest.raises(ValueError, match="one floating dtype"):
        window_attention(q, q.half(), q, order, offsets, 1.0)
    with pytest.raises(ValueError, match="one floating dtype"):
        window_attention(q.long(), q.long(), q.long(), order, offsets, 1.0)
    with pytest.raises(ValueError, match=r"\[T\] and \[W\+1\]"):
        window_attention(q, q, q, order[:5], offsets, 1.0)
    with pytest.raises(ValueError, match="int64"):
        window_attention(q, q, q, order.int(), offsets, 1.0)
    with pytest.raises(ValueError, match=r"\[heads\]"):
        window_attention(q, q, q, order, offsets, 1.0, torch.ones(3, device=device))


@pytest.mark.parametrize(
    ("order", "offsets"),
    [
        ([0, 1, 2, 3], [0, 5]),
        ([0, 1, 2, 3], [1, 4]),
        ([0, 1, 2, 3], [0, 3, 2, 4]),
        ([0, 1, 2, 4], [0, 4]),
        ([0, 1, 2, -1], [0, 4]),
    ],
)
def test_refuses_tokens_that_are_not_there(order: list[int], offsets: list[int]) -> None:
    q = torch.ones(4, 2, 4)
    with pytest.raises(ValueError, match="order must hold each of"):
        window_attention(q, q, q, torch.tensor(order), torch.tensor(offsets), 1.0)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("name", ["no tokens, empty windows", "empty windows", "tokens in no window"])
def test_opcheck(name: str, cosine: bool, device: str) -> None:
    order, offsets = windows_of(name, device)
    q, k, v, grad = inputs_of(len(order), 2, 8, device=device).unbind(0)
    temperature = temperature_of(2, cosine, device)
    out, log_sum = torch.ops.perception.window_attention(q, k, v, order, offsets, 0.5, temperature)
    backward = (grad, q, k, v, out, log_sum, order, offsets, 0.5, temperature)
    torch.library.opcheck(torch.ops.perception.window_attention_backward, backward)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    torch.library.opcheck(
        torch.ops.perception.window_attention,
        (*leaves, order, offsets, 0.5, temperature.clone().requires_grad_() if cosine else None),
    )

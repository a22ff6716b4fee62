"""fused_linear against the same steps in float64."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.ops import fused_linear as module
from perception.ops.fused_linear import fused_linear

SHAPES = [(0, 4, 3), (1, 1, 1), (5, 0, 4), (3, 7, 0), (7, 128, 33), (95, 13, 32), (97, 64, 128), (500, 96, 130)]


def inputs_of(rows: int, inputs: int, outputs: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """x, weight, bias, residual."""
    generator = torch.Generator().manual_seed(0)
    sizes = (rows, inputs), (outputs, inputs), (outputs,), (rows, outputs)
    return tuple(torch.randn(size, generator=generator, dtype=dtype) for size in sizes)


def norm_of(outputs: int) -> nn.LayerNorm:
    norm = nn.LayerNorm(outputs).requires_grad_(False)
    norm.weight.copy_(torch.linspace(0.5, 1.5, outputs))
    norm.bias.copy_(torch.linspace(-1, 1, outputs))
    return norm


def slow_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool, residual: Tensor | None, norm: nn.LayerNorm | None
) -> Tensor:
    """In float64, one row at a time."""
    out = torch.zeros(len(x), len(weight), dtype=torch.float64)
    for i, row in enumerate(x.double()):
        y = (weight.double() * row).sum(1)
        y = y if bias is None else y + bias.double()
        y = y * (1 + torch.erf(y / 2**0.5)) / 2 if gelu else y
        y = y if residual is None else y + residual[i].double()
        if norm is not None:
            y = (y - y.mean()) / (y.var(unbiased=False) + norm.eps).sqrt()
            y = y * norm.weight.double() + norm.bias.double()
        out[i] = y
    return out


def assert_close(value: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    assert value.shape == expected.shape
    if expected.numel():
        assert (value.double() - expected).abs().max() <= relative * expected.abs().max() + 1e-7


@pytest.fixture
def only_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test that takes torch's way."""

    def refuse(*_: object) -> Tensor:
        raise AssertionError("the kernel was not used")

    monkeypatch.setattr(module.F, "linear", refuse)


@pytest.mark.parametrize(("has_bias", "gelu", "adds", "norms"), itertools.product((False, True), repeat=4))
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_equals_the_steps_one_by_one(
    rows: int, inputs: int, outputs: int, has_bias: bool, gelu: bool, adds: bool, norms: bool, only_the_kernel: None
) -> None:
    x, weight, bias, residual = inputs_of(rows, inputs, outputs)
    norm = norm_of(outputs) if norms and outputs > 1 else None
    arguments = x, weight, bias if has_bias else None, gelu, residual if adds else None, norm
    assert_close(fused_linear(*arguments), slow_linear(*arguments))


def test_gelu_over_its_range(only_the_kernel: None) -> None:
    x = torch.cat((torch.linspace(-20, 20, 4001), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e30, torch.inf])))[:, None]
    out = fused_linear(x, torch.ones(1, 1), gelu=True)
    torch.testing.assert_close(out.double(), F.gelu(x.double()), rtol=1e-6, atol=1e-6)


def test_sixty_thousand_rows(only_the_kernel: None) -> None:
    x, weight, bias, residual = inputs_of(60_000, 16, 24)
    norm = norm_of(24)
    expected = norm.double()(residual.double() + F.gelu(x.double() @ weight.double().T + bias.double()))
    assert_close(fused_linear(x, weight, bias, True, residual, norm.float()), expected)


def test_non_contiguous_tensors(only_the_kernel: None) -> None:
    x, weight, bias, residual = inputs_of(60, 20, 40)
    wide = torch.stack((x, x), dim=1).flatten(1)[:, :20]  # rows apart
    for rows in (wide, x.T.contiguous().T):
        out = fused_linear(rows[::2], weight.T.contiguous().T, bias, False, residual.T.contiguous().T[::2])
        assert_close(out, slow_linear(rows[::2], weight, bias, False, residual[::2], None))


def test_a_nan_stays_in_its_row(only_the_kernel: None) -> None:
    x, weight, bias, residual = inputs_of(30, 8, 40)
    x[17, 3] = torch.nan
    for gelu in (False, True):
        out = fused_linear(x, weight, bias, gelu, residual, norm_of(40))
        assert out.isnan().any(1).nonzero().tolist() == [[17]] and out[17].isnan().all()


def test_results_do_not_depend_on_threads(keep_threads: None) -> None:
    x, weight, bias, residual = inputs_of(1000, 64, 70)
    results = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        results.append(fused_linear(x, weight, bias, True, residual, norm_of(70)))
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes_are_torchs(dtype: torch.dtype) -> None:
    x, weight, bias, residual = inputs_of(20, 16, 24, dtype)
    norm = norm_of(24).to(dtype)
    expected = norm(residual + F.gelu(F.linear(x, weight, bias)))
    assert torch.equal(fused_linear(x, weight, bias, True, residual, norm), expected)


def test_gradients() -> None:
    x, weight, bias, residual = (t.requires_grad_() for t in inputs_of(6, 5, 4, torch.float64))
    norm = norm_of(4).double()
    torch.autograd.gradcheck(lambda *t: fused_linear(*t[:3], True, t[3], norm), (x, weight, bias, residual))


def test_training_and_inference_agree() -> None:
    x, weight, bias, residual = inputs_of(50, 32, 48)
    norm = norm_of(48).requires_grad_()
    trained = fused_linear(x, weight, bias, True, residual, norm)
    assert trained.requires_grad
    with torch.no_grad():
        assert_close(fused_linear(x, weight, bias, True, residual, norm), trained.detach().double(), 1e-6)


def test_autocast_is_respected() -> None:
    x, weight, bias, _ = inputs_of(50, 32, 48)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert fused_linear(x, weight, bias).dtype == torch.bfloat16


def test_compiles_without_graph_breaks() -> None:
    x, weight, bias, residual = inputs_of(50, 32, 48)
    norm = norm_of(48)
    compiled = torch.compile(lambda *t: 2 * fused_linear(*t, True, residual, norm), fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, weight, bias), 2 * fused_linear(x, weight, bias, True, residual, norm))


def test_refuses_bad_arguments() -> None:
    x, weight, bias, residual = inputs_of(6, 5, 4)
    with pytest.raises(ValueError, match="weight"):
        fused_linear(x, weight[:, :3], bias)
    with pytest.raises(ValueError, match="bias"):
        fused_linear(x, weight, bias[:3])
    with pytest.raises(ValueError, match="residual"):
        fused_linear(x, weight, bias, False, residual[:5])
    with pytest.raises(ValueError, match="norm_weight"):
        fused_linear(x, weight, bias, norm=norm_of(5))


@pytest.mark.parametrize("rows", [0, 9])
def test_opcheck(rows: int) -> None:
    x, weight, bias, residual = inputs_of(rows, 5, 4)
    norm = norm_of(4)
    torch.library.opcheck(
        torch.ops.perception.fused_linear, (x, weight, bias, True, residual, norm.weight, norm.bias, 1e-5)
    )
    torch.library.opcheck(torch.ops.perception.fused_linear, (x, weight, None, False, None, None, None, 0.0))

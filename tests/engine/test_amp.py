"""The forward is in bfloat16 only where the processor has instructions for it."""

import pytest
import torch
from torch import nn

from perception.engine import amp


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_precision_of_the_forward(monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(amp, "has_fast_bfloat16", lambda device: fast)
    model = nn.Linear(4, 2)
    wrapper = amp.Bfloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(3, 4))
    assert out.dtype == dtype
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32 and not torch.equal(model.weight, before)


@pytest.mark.parametrize(
    ("onednn", "avx512", "avx512_bf16", "fast"),
    [
        (False, False, False, False),  # AVX2
        (True, True, False, False),  # Ice Lake: oneDNN emulates
        (True, True, True, True),
        (True, False, False, True),  # Arm
    ],
)
def test_processors(monkeypatch: pytest.MonkeyPatch, onednn: bool, avx512: bool, avx512_bf16: bool, fast: bool) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    assert amp.has_fast_bfloat16.__wrapped__("cpu") == fast
    assert amp.has_fast_bfloat16.__wrapped__("cuda")

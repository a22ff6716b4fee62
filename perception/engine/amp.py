"""Mixed precision in bfloat16, wherever the processor computes in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn


class Bfloat16OptimWrapper(OptimWrapper):
    """Runs the forward under bfloat16 autocast. mmengine's AmpOptimWrapper refuses to run on the CPU; bfloat16 needs
    no loss scaling, so nothing else of it is missed. For float16 on a GPU use AmpOptimWrapper.

    On a CPU without instructions for bfloat16 the forward stays in float32: see `has_fast_bfloat16`."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[Any]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16, enabled=has_fast_bfloat16(device)):
            yield


@cache
def has_fast_bfloat16(device: str) -> bool:
    """Whether a device of this type computes in bfloat16 faster than in float32.

    Without AVX-512, torch runs convolutions in bfloat16 one by one on one thread. With AVX-512 but no instructions for
    bfloat16 (Xeons before Cooper Lake, and Ice Lake) oneDNN emulates them, which is slower than float32.
    """
    emulated = torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported()
    fast: bool = device != "cpu" or (torch.ops.mkldnn._is_mkldnn_bf16_supported() and not emulated)
    if not fast:
        print_log("this CPU has no fast bfloat16: training in float32", logger="current")
    return fast

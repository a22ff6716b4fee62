"""Measures the GPU (copy bandwidth, bf16 matrix rate), then every op against its floor and its best plain-torch form.

python benchmarks/gpu.py [--repeats 20]

One JSON line per op. Without a GPU it says so and exits with 2.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable

import torch
from gpu_cases import Case, cases, padded_attention, region_batches, scene_tokens
from torch import Tensor

from perception.lidar import sst

CALLS = 10  # per measurement: an event's resolution is too coarse for one short kernel


def milliseconds(work: Callable[[], object]) -> float:
    """Time of one call on the GPU, launch gaps included (ms)."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(CALLS):
        work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / CALLS


def alternate(works: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median times of the works, measured in turn (ms)."""
    for work in works:
        work()
    rounds = [[milliseconds(work) for work in works] for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def machine(repeats: int) -> tuple[float, float]:
    """Copy bandwidth (bytes/s, read and written) and bf16 matrix rate (operations/s) of this GPU."""
    source = torch.empty(1 << 28, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    a, b = torch.randn(2, 8192, 8192, device="cuda").bfloat16().unbind(0)
    copy_ms, product_ms = alternate([lambda: target.copy_(source), lambda: a @ b], repeats)
    return 2 * source.numel() * 4 / (copy_ms * 1e-3), 2 * 8192**3 / (product_ms * 1e-3)


def same(ours: Tensor, other: Tensor, tolerance: float) -> bool:
    """Equal, or within `tolerance` of the largest value."""
    if tolerance == 0.0:
        return torch.equal(ours, other)
    return bool((ours.double() - other.double()).abs().max() <= tolerance * other.double().abs().max())


def measure(case: Case, bandwidth: float, rate: float, repeats: int) -> None:
    """Prints one JSON line per other form."""
    forms = {case.other_name: case.other, **case.others}
    ours_result = case.ours()
    for name, form in forms.items():
        if not same(ours_result, form(), case.tolerance):
            raise RuntimeError(f"{case.name}: the result differs from that of {name}")
    ours_ms, *others_ms = alternate([case.ours, *forms.values()], repeats)
    floor_ms = 1e3 * max(case.moved_bytes / bandwidth, case.operations / rate)
    for name, other_ms in zip(forms, others_ms, strict=True):
        line = {
            "name": case.name,
            "ours_ms": round(ours_ms, 4),
            "other": name,
            "other_ms": round(other_ms, 4),
            "ratio": round(other_ms / ours_ms, 2),
            "floor_ms": round(floor_ms, 4),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(),
        }
        print(json.dumps(line), flush=True)


def sst_case(tokens: int = 20_000, grid: int = 320) -> Case:
    """SST's six blocks in bf16 on a frame of ten sweeps, against the same blocks on padded SDPA."""
    coords = scene_tokens(tokens, grid, "cuda")
    torch.manual_seed(0)
    model = sst.SST(128, grid=(1, grid, grid), conv_dilations=()).cuda().bfloat16().eval()
    features = torch.randn(tokens, 128, device="cuda", dtype=torch.bfloat16)
    ours = sst.window_attention
    plans: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def padded(q: Tensor, k: Tensor, v: Tensor, order: Tensor, offsets: Tensor, scale: float, _: None) -> Tensor:
        if id(offsets) not in plans:
            plans[id(offsets)] = region_batches(order, offsets)
        return padded_attention(q, k, v, plans[id(offsets)], scale)

    @torch.no_grad()
    def encode(attention: Callable[..., Tensor]) -> Tensor:
        plans.clear()
        sst.window_attention = attention
        try:
            return model.encode(features, coords, 1)
        finally:
            sst.window_attention = ours

    products = 12 * 2 * tokens * (4 * 128 * 128 + 2 * 128 * 256)
    return Case(
        "sst blocks",
        lambda: encode(ours),
        lambda: encode(padded),
        "padded SDPA",
        2 * features.numel() * 2,
        operations=products,
        tolerance=5e-2,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the ops on a GPU")
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: torch.cuda.is_available() is False, so there is nothing to measure", file=sys.stderr)
        return 2
    bandwidth, rate = machine(args.repeats)
    print(f"{torch.cuda.get_device_name()}: copy {bandwidth / 1e9:.0f} GB/s, bf16 products {rate / 1e12:.0f} TFLOP/s")
    for case in cases("cuda"):
        measure(case, bandwidth, rate, args.repeats)
    measure(sst_case(), bandwidth, rate, args.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Times two ways to do the same thing, side by side, and prints the one line of JSON that every benchmark ends in."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F


def compare(
    name: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    other_name: str,
    floor_ms: float,
    repeats: int = 20,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, object]:
    """Median times of `ours` and `other`, run in turn so that a noisy moment hits both; printed as a line of JSON.

    Args:
        floor_ms: what the hardware cannot go below for this work (bytes over bandwidth, or operations over rate).
        device: where the functions run; "cuda" waits for the device around each run.
        clock: seconds; time.process_time is the processor's, of all threads, which others on the machine hardly change.

    Returns:
        The printed line: name, ours_ms, other, other_ms, ratio (other over ours), floor_ms, threads, device.
    """
    for warm in (ours, other):
        seconds(warm, device)
        seconds(warm, device)
    times = [(seconds(ours, device, clock), seconds(other, device, clock)) for _ in range(repeats)]
    ours_ms, other_ms = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    line = {
        "name": name,
        "ours_ms": round(ours_ms, 4),
        "other": other_name,
        "other_ms": round(other_ms, 4),
        "ratio": round(other_ms / ours_ms, 2),
        "floor_ms": round(floor_ms, 4),
        "threads": torch.get_num_threads(),
        "device": device if device == "cpu" else torch.cuda.get_device_name(device),
    }
    print(json.dumps(line), flush=True)
    return line


def seconds(work: Callable[[], object], device: str = "cpu", clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call (s), the wall's or another clock's."""
    if device != "cpu":
        torch.cuda.synchronize(device)
    start = clock()
    work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return clock() - start


def median_ms(
    work: Callable[[], object],
    repeats: int = 20,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median time of a call (ms), the wall's or another clock's, after one to warm up."""
    work()
    return 1e3 * statistics.median(seconds(work, device, clock) for _ in range(repeats))


def copy_bandwidth(device: str = "cpu", size_bytes: int = 1 << 28) -> float:
    """Bytes per second that a large copy reads and writes: the floor of work that only moves memory."""
    source = torch.ones(size_bytes // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return 2 * size_bytes / (median_ms(lambda: target.copy_(source), repeats=7, device=device) * 1e-3)


def compute_rate(
    device: str = "cpu", dtype: torch.dtype = torch.float32, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Operations per second of a large matrix product or a large convolution, whichever is faster: the floor of work
    that is mostly products. They come from different libraries; on an AMD processor torch's product has less than half
    of its convolution's rate."""
    side, channels, size = 2048, 256, 128
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    shapes = (1, channels, size, size), (channels, channels, 3, 3)
    x, weight = (torch.randn(s, device=device).to(dtype, memory_format=torch.channels_last) for s in shapes)
    with torch.no_grad():
        product_ms = median_ms(lambda: a @ b, repeats=5, device=device, clock=clock)
        convolution_ms = median_ms(lambda: F.conv2d(x, weight, padding=1), repeats=5, device=device, clock=clock)
    return 1e3 * max(2 * side**3 / product_ms, 2 * weight.numel() * size**2 / convolution_ms)


def bytes_of(*tensors: torch.Tensor) -> int:
    """Bytes that the elements of the tensors take together."""
    return sum(t.numel() * t.element_size() for t in tensors)

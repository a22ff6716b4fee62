"""What benchmarks/gpu.py measures: every op on a GPU-sized problem, with its best plain-torch form and its least work.

The same cases run small on the CPU in tests/ops/test_gpu_cases.py, where both forms must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.ops.bev_pool import bev_pool, pool_index
from perception.ops.box_iou_bev import box_iou_bev
from perception.ops.nms_bev import nms_bev
from perception.ops.points_in_boxes import points_in_boxes
from perception.ops.segment_reduce import segment_reduce
from perception.ops.sparse_to_bev import sparse_to_bev
from perception.ops.voxelize import voxelize
from perception.ops.window_attention import window_attention
from perception.ops.window_partition import window_partition

LEVELS = (30, 60, 100, 144)  # SST's region batching: windows of at most so many tokens are padded to it


@dataclass(frozen=True)
class Case:
    """One op at one size. `ours` and `other` return the same tensor, within `tolerance` of its largest value."""

    name: str
    ours: Callable[[], Tensor]
    other: Callable[[], Tensor]
    other_name: str
    moved_bytes: int  # read once, written once
    operations: int = 0  # multiplications and additions in matrix products
    tolerance: float = 0.0
    others: dict[str, Callable[[], Tensor]] = field(default_factory=dict)  # further forms to measure


def size_of(*tensors: Tensor) -> int:
    """Bytes of the tensors together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def scene_points(count: int, device: str) -> Tensor:
    """[count,3] float32 (m): dense near the sensor and thin far away, as a LiDAR sees it; some outside the range."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.rand(count, generator=generator) * 6.2832
    radius = 3 * torch.exp(torch.rand(count, generator=generator) * 3.0)
    z = torch.rand(count, generator=generator) * 6 - 4
    return torch.stack((radius * angle.cos(), radius * angle.sin(), z), dim=1).to(device)


def scene_tokens(count: int, grid: int, device: str) -> Tensor:
    """[count,4] int32 (b,z,y,x) sorted: distinct pillars, denser near the middle of a grid x grid map."""
    cell = torch.arange(grid, dtype=torch.float32) - grid / 2
    radius = torch.sqrt(cell[:, None] ** 2 + cell[None, :] ** 2)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.multinomial(1 / (radius + 0.05 * grid).flatten(), count, generator=generator).sort().values
    zero = torch.zeros_like(chosen)
    return torch.stack((zero, zero, chosen // grid, chosen % grid), dim=1).int().to(device)


def voxelize_case(device: str, small: bool) -> Case:
    points = scene_points(3000 if small else 300_000, device)
    batch = torch.zeros(len(points), dtype=torch.int64, device=device)
    low, cell, grid = (-51.2, -51.2, -5.0), (0.32, 0.32, 8.0), (1, 320, 320)

    def other() -> Tensor:
        origin, size = points.new_tensor(low), points.new_tensor(cell)
        index = torch.floor((points - origin) / size).long()
        inside = ((index >= 0) & (index < index.new_tensor(grid[::-1]))).all(1)
        flat = ((batch * grid[0] + index[:, 2]) * grid[1] + index[:, 1]) * grid[2] + index[:, 0]
        _, voxel, counts = torch.unique(flat[inside], return_inverse=True, return_counts=True)
        torch.argsort(voxel, stable=True)
        torch.cumsum(counts, 0)
        point_voxel = batch.new_full((len(points),), -1)
        point_voxel[inside] = voxel
        return point_voxel

    moved = size_of(points, batch) + 2 * 8 * len(points)  # in: points, batch; out: point_voxel, order
    return Case(
        "voxelize",
        lambda: voxelize(points, batch, 1, low, cell, grid).point_voxel,
        other,
        "torch.unique",
        moved,
    )


def segment_reduce_case(device: str, small: bool) -> Case:
    points = scene_points(3000 if small else 300_000, device)
    batch = torch.zeros(len(points), dtype=torch.int64, device=device)
    voxels = voxelize(points, batch, 1, (-51.2, -51.2, -5.0), (0.32, 0.32, 8.0), (1, 320, 320))
    values = torch.randn(len(points), 64, device=device)
    inside = voxels.point_voxel >= 0
    rows, segment, count = values[inside], voxels.point_voxel[inside], len(voxels.coords)
    return Case(
        "segment_reduce (mean)",
        lambda: segment_reduce(values, voxels.order, voxels.offsets, "mean"),
        lambda: (
            values.new_zeros(count, 64).index_add(0, segment, rows)
            / torch.bincount(segment, minlength=count).unsqueeze(1)
        ),
        "index_add",
        size_of(rows, voxels.order, voxels.offsets) + count * 64 * 4,
        tolerance=1e-5,
    )


def window_partition_case(device: str, small: bool) -> Case:
    coords = scene_tokens(500 if small else 20_000, 64 if small else 320, device)
    grid = 64 if small else 320

    def other() -> Tensor:
        orders = []
        for shift in (12, 6):
            moved = coords[:, 2:] + shift
            window = torch.div(moved, 12, rounding_mode="floor").long()
            _, inverse = torch.unique(window[:, 0] * 1000 + window[:, 1], return_inverse=True)
            orders.append(torch.argsort(inverse, stable=True))
            moved - 12 * window
        return torch.cat(orders)

    moved = size_of(coords) + 2 * len(coords) * (8 + 12)
    return Case(
        "window_partition",
        lambda: torch.cat([p.order for p in window_partition(coords, 1, (1, grid, grid), (1, 12, 12))]),
        other,
        "torch.unique",
        moved,
    )


def region_batches(order: Tensor, offsets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """SST's region batching: per level the tokens of its windows [n,level], padded, and which are real [n,level]."""
    lengths = offsets.diff()
    batches, below = [], 0
    for level in LEVELS:
        windows = torch.nonzero((lengths > below) & (lengths <= level)).flatten()
        below = level
        if len(windows):
            place = torch.arange(level, device=order.device)
            real = place < lengths[windows, None]
            batches.append((order[torch.where(real, offsets[windows, None] + place, 0)], real))
    return batches


def padded_attention(q: Tensor, k: Tensor, v: Tensor, batches: list[tuple[Tensor, Tensor]], scale: float) -> Tensor:
    """Window attention on padded batches, by torch's scaled dot-product attention."""
    out = torch.empty_like(v)
    for tokens, real in batches:
        padded = [x[tokens].transpose(1, 2) for x in (q, k, v)]
        attended = F.scaled_dot_product_attention(*padded, attn_mask=real[:, None, None, :], scale=scale)
        out[tokens[real]] = attended.transpose(1, 2)[real]
    return out


def nested_attention(q: Tensor, k: Tensor, v: Tensor, order: Tensor, offsets: Tensor, scale: float) -> Tensor:
    """Window attention on jagged nested tensors, by torch's scaled dot-product attention."""
    longest = int(offsets.diff().max())
    jagged = [
        torch.nested.nested_tensor_from_jagged(x[order], offsets, min_seqlen=1, max_seqlen=longest).transpose(1, 2)
        for x in (q, k, v)
    ]
    attended = F.scaled_dot_product_attention(*jagged, scale=scale).transpose(1, 2)
    return torch.empty_like(v).index_copy(0, order, attended.values())


def window_attention_case(device: str, small: bool) -> Case:
    grid, heads, width = (64 if small else 320), 8, 16
    coords = scene_tokens(500 if small else 20_000, grid, device)
    partition = window_partition(coords, 1, (1, grid, grid), (1, 12, 12))[0]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    q, k, v = torch.randn(3, len(coords), heads, width, device=device).to(dtype).unbind(0)
    order, offsets, scale = partition.order, partition.offsets, width**-0.5
    batches = region_batches(order, offsets)
    lengths = offsets.diff().double()
    others = {} if device == "cpu" else {"nested SDPA": lambda: nested_attention(q, k, v, order, offsets, scale)}
    return Case(
        "window_attention",
        lambda: window_attention(q, k, v, order, offsets, scale),
        lambda: padded_attention(q, k, v, batches, scale),
        "padded SDPA",
        size_of(q, k, v, v, order, offsets),
        operations=int(4 * heads * width * (lengths**2).sum()),
        tolerance=1e-5 if device == "cpu" else 2e-2,
        others=others,
    )


def bev_pool_case(device: str, small: bool) -> Case:
    views, bins, height, width, channels = (2, 7, 4, 6, 8) if small else (6, 59, 32, 88, 80)
    side = 20 if small else 360
    generator = torch.Generator().manual_seed(0)
    # Neighbouring pixels and bins fall into neighbouring cells, as those of a real camera do.
    d, h, w = torch.meshgrid(torch.arange(bins), torch.arange(height), torch.arange(width), indexing="ij")
    cells = []
    for view in range(views):
        angle = (view + w / width) * 6.2832 / views
        radius = (2 + d) / (bins + 2) * side * 0.6
        x = (side / 2 + radius * angle.cos()).floor().long()
        y = (side / 2 + radius * angle.sin() + 0 * h).floor().long()
        inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
        cells.append(torch.where(inside, y * side + x, -1))
    cell = torch.stack(cells).to(device)
    dtype = torch.float32 if device == "cpu" else torch.float16
    features = torch.randn(views, height, width, channels, generator=generator).to(device, dtype)
    depth = torch.rand(views, bins, height, width, generator=generator).softmax(1).to(device, dtype)
    index = pool_index(cell, side * side)
    inside = cell >= 0

    def other() -> Tensor:
        frustum = depth.unsqueeze(-1) * features.unsqueeze(1)
        return features.new_zeros(side * side, channels).index_add(0, cell[inside], frustum[inside])

    points = int(inside.sum())
    return Case(
        "bev_pool",
        lambda: bev_pool(features, depth, index, side * side),
        other,
        "index_add",
        size_of(features, depth) + 4 * points + side * side * channels * features.element_size(),
        tolerance=1e-5 if device == "cpu" else 2e-2,
    )


def sparse_to_bev_case(device: str, small: bool) -> Case:
    grid = 64 if small else 320
    coords = scene_tokens(500 if small else 20_000, grid, device)
    features = torch.randn(len(coords), 128, device=device)
    flat = coords[:, 2].long() * grid + coords[:, 3]
    return Case(
        "sparse_to_bev",
        lambda: sparse_to_bev(features, coords, 1, (1, grid, grid)),
        lambda: (
            features.new_zeros(grid * grid, 128).index_copy(0, flat, features).T.contiguous().view(1, 128, grid, grid)
        ),
        "index_copy",
        size_of(features, coords) + grid * grid * 128 * 4,
    )


def random_boxes(count: int, device: str) -> Tensor:
    """[count,5] x y l w yaw: clusters of overlapping cars."""
    generator = torch.Generator().manual_seed(0)
    centres = (torch.rand(count // 10 + 1, 2, generator=generator) * 100 - 50).repeat(10, 1)[:count]
    centres = centres + torch.randn(count, 2, generator=generator) * 0.5
    size = torch.tensor([4.5, 1.9]) * (0.8 + 0.4 * torch.rand(count, 2, generator=generator))
    yaw = torch.rand(count, 1, generator=generator) * 6.2832 - 3.1416
    return torch.cat((centres, size, yaw), dim=1).to(device)


def nms_bev_case(device: str, small: bool) -> Case:
    boxes = random_boxes(100 if small else 1000, device)
    scores = torch.rand(len(boxes), generator=torch.Generator().manual_seed(1)).to(device)

    def other() -> Tensor:
        order = torch.argsort(scores, descending=True, stable=True)
        overlaps = box_iou_bev(boxes[order], boxes[order]) > 0.2
        alive = torch.ones(len(boxes), dtype=torch.bool, device=device)
        for i in range(len(boxes)):
            alive[i + 1 :] &= ~(overlaps[i, i + 1 :] & alive[i])
        return order[alive]

    return Case("nms_bev", lambda: nms_bev(boxes, scores, 0.2), other, "greedy loop in torch", size_of(boxes, scores))


def points_in_boxes_case(device: str, small: bool) -> Case:
    points = scene_points(3000 if small else 300_000, device)
    flat = random_boxes(70, device)
    tall = torch.ones(len(flat), 1, device=device)
    boxes = torch.cat((flat[:, :2], -tall, flat[:, 2:4], 2 * tall, flat[:, 4:]), dim=1)

    def other() -> Tensor:
        offset = points[:, None] - boxes[None, :, :3]
        cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
        x, y = offset[..., 0] * cos + offset[..., 1] * sin, offset[..., 1] * cos - offset[..., 0] * sin
        inside = (x.abs() <= boxes[:, 3] / 2) & (y.abs() <= boxes[:, 4] / 2) & (offset[..., 2].abs() <= boxes[:, 5] / 2)
        return torch.where(inside.any(1), inside.int().argmax(1), -1)

    return Case(
        "points_in_boxes",
        lambda: points_in_boxes(points, boxes),
        other,
        "broadcast",
        size_of(points, boxes) + 8 * len(points),
    )


def cases(device: str, small: bool = False) -> Iterator[Case]:
    """Every case on the device, built one at a time; `small` for a quick run."""
    for build in (
        voxelize_case,
        segment_reduce_case,
        window_partition_case,
        window_attention_case,
        bev_pool_case,
        sparse_to_bev_case,
        nms_bev_case,
        points_in_boxes_case,
    ):
        yield build(device, small)

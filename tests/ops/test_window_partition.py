"""window_partition against a loop over tokens."""

import math

import pytest
import torch
from torch import Tensor

from perception.ops.voxelize import voxelize
from perception.ops.window_partition import WindowPartition, window_partition


def windows_of(batch_size: int, grid: tuple, window: tuple, shift: list[int]) -> int:
    """The windows up to that of the last cell, by trying every cell of an axis."""
    along = [max((c + s) // w for c in range(g)) + 1 for g, w, s in zip(grid, window, shift, strict=True)]
    return batch_size * math.prod(along)


def slow_partition(coords: Tensor, batch_size: int, grid: tuple, window: tuple, shifted: bool) -> WindowPartition:
    shift = [size // 2 if shifted else size for size in window]
    if window[0] >= grid[0]:
        shift[0] = 0
    windows: dict[tuple[int, ...], list[int]] = {}
    position = []
    for token, (b, *zyx) in enumerate(coords.tolist()):
        moved = [c + s for c, s in zip(zyx, shift, strict=True)]
        windows.setdefault((b, *(m // w for m, w in zip(moved, window, strict=True))), []).append(token)
        position.append([m % w for m, w in zip(moved, window, strict=True)])
    groups = [windows[key] for key in sorted(windows)]
    groups += [[]] * (min(len(coords), windows_of(batch_size, grid, window, shift)) - len(groups))
    return WindowPartition(
        torch.tensor([token for group in groups for token in group], dtype=torch.int64),
        torch.tensor([0] + [len(group) for group in groups]).cumsum(0),
        torch.tensor(position, dtype=torch.int32).reshape(-1, 3),
    )


def random_coords(count: int, batch_size: int, grid: tuple, device: str = "cpu", seed: int = 0) -> Tensor:
    """Distinct occupied cells, sorted as voxelize gives them."""
    generator = torch.Generator().manual_seed(seed)
    cells = batch_size * grid[0] * grid[1] * grid[2]
    flat = torch.randperm(cells, generator=generator)[:count].sort().values
    axes = torch.unravel_index(flat, (batch_size, *grid))
    return torch.stack(axes, 1).int().reshape(-1, 4).to(device)


def check(coords: Tensor, batch_size: int, grid: tuple, window: tuple) -> tuple[WindowPartition, WindowPartition]:
    partitions = window_partition(coords, batch_size, grid, window)
    for partition, shifted in zip(partitions, (False, True), strict=True):
        want = slow_partition(coords, batch_size, grid, window, shifted)
        for name, a, b in zip(WindowPartition._fields, partition, want, strict=True):
            assert a.device.type == coords.device.type and a.is_contiguous() and a.dtype == b.dtype
            assert torch.equal(a.cpu(), b), (name, shifted)
    return partitions


@pytest.mark.parametrize("count", [0, 1, 2, 777])
@pytest.mark.parametrize(
    ("grid", "window"),
    [((1, 37, 41), (1, 12, 12)), ((9, 20, 21), (4, 5, 6)), ((5, 37, 7), (5, 3, 3)), ((5, 13, 13), (8, 40, 2))],
)
def test_matches_a_loop_over_tokens(count: int, grid: tuple, window: tuple, device: str) -> None:
    check(random_coords(count, 3, grid, device), 3, grid, window)


def test_full_windows_of_144_tokens(device: str) -> None:
    grid = (1, 48, 36)
    unshifted, shifted = check(random_coords(48 * 36, 1, grid, device), 1, grid, (1, 12, 12))
    assert unshifted.offsets.diff().tolist() == [144] * 12 + [0] * (5 * 4 - 12)
    assert shifted.offsets.diff().unique().tolist() == [36, 72, 144]


def test_one_token_per_window(device: str) -> None:
    coords = random_coords(300, 2, (3, 30, 30), device)
    for partition in check(coords, 2, (3, 30, 30), (1, 1, 1)):
        assert partition.offsets.diff().tolist() == [1] * 300


def test_no_shift_in_height_where_one_window_spans_it(device: str) -> None:
    coords = torch.tensor([[0, 3, 0, 0]], dtype=torch.int32, device=device)
    assert [p.position.tolist() for p in check(coords, 1, (4, 12, 12), (4, 6, 6))] == [[[3, 0, 0]], [[3, 3, 3]]]
    assert [p.position.tolist() for p in check(coords, 1, (8, 12, 12), (4, 6, 6))] == [[[3, 0, 0]], [[1, 3, 3]]]


def test_unsorted_and_non_contiguous_coords(device: str) -> None:
    grid = (2, 25, 25)
    coords = random_coords(500, 2, grid, device)[torch.randperm(500, device=device)]
    check(coords, 2, grid, (1, 4, 4))
    check(coords.t().contiguous().t()[::3], 2, grid, (1, 4, 4))


def test_a_sample_without_tokens_keeps_the_others_apart(device: str) -> None:
    coords = random_coords(200, 1, (1, 20, 20), device)
    coords[100:, 0] = 2
    for partition in check(coords, 3, (1, 20, 20), (1, 7, 7)):
        assert partition.offsets.tolist().count(100) == 1


def test_sixty_thousand_tokens() -> None:
    check(random_coords(60_000, 2, (1, 360, 360)), 2, (1, 360, 360), (1, 12, 12))


def test_results_do_not_depend_on_threads(keep_threads: None) -> None:
    coords = random_coords(30_000, 2, (4, 90, 90))
    results = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        results.append([t for p in window_partition(coords, 2, (4, 90, 90), (2, 9, 9)) for t in p])
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_refuses_bad_arguments(device: str) -> None:
    coords = random_coords(10, 1, (1, 5, 5), device)
    coords[3, 2], coords[4, 3], coords[5, 0] = 5, -1, 1
    if device == "cpu":
        with pytest.raises(ValueError, match="3 of 10 coords lie outside the grid"):
            window_partition(coords, 1, (1, 5, 5), (1, 2, 2))
    with pytest.raises(ValueError, match="int32"):
        window_partition(coords.long(), 1, (1, 5, 5), (1, 2, 2))
    with pytest.raises(ValueError, match="must be positive"):
        window_partition(coords, 1, (1, 5, 5), (1, 0, 2))


class Windows(torch.nn.Module):
    """Tokens per window of both partitions of the occupied pillars."""

    def forward(self, points: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        coords = voxelize(points, batch, 2, (0.0, 0.0, 0.0), (1.0, 1.0, 9.0), (1, 16, 16)).coords
        unshifted, shifted = window_partition(coords, 2, (1, 16, 16), (1, 4, 4))
        return unshifted.offsets.diff(), shifted.offsets.diff()


def test_exports_for_any_number_of_tokens() -> None:
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([16.0, 16.0, 9.0])
    batch = torch.arange(500) % 2
    count = torch.export.Dim("points", min=2)
    program = torch.export.export(Windows(), (points, batch), dynamic_shapes=({0: count}, {0: count})).module()
    for size in (2, 7, 60, 500):
        inputs = points[:size], batch[:size]
        tokens = torch.unique(torch.cat((batch[:size, None], points[:size, :2].int()), dim=1), dim=0)
        for exported, eager in zip(program(*inputs), Windows()(*inputs), strict=True):
            assert torch.equal(exported, eager) and exported.sum() == len(tokens)


def test_tokens_outside_on_the_gpu_land_in_no_window(device: str) -> None:
    if device == "cpu":
        pytest.skip("on the CPU they are an error")
    coords = torch.tensor([[0, 0, 5, 0], [0, 0, 3, 3], [1, 0, 0, 0]], dtype=torch.int32, device=device)
    for partition in window_partition(coords, 1, (1, 5, 5), (1, 2, 2)):
        assert partition.order.tolist() == [1, 0, 2] and partition.offsets.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("count", [0, 1, 60])
def test_opcheck(count: int, device: str) -> None:
    coords = random_coords(count, 2, (2, 9, 9), device)
    torch.library.opcheck(torch.ops.perception.window_partition, (coords, 2, [2, 9, 9], [1, 4, 4]))

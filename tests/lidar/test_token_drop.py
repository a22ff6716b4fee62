"""Token dropping against a loop that does what the official code does, window by window."""

from collections import defaultdict

import pytest
import torch
from torch import Tensor

from perception.lidar.sst import SST
from perception.lidar.token_drop import DropLevel, TokenDrop


def levels(*triples: tuple[int, int, int]) -> list[DropLevel]:
    return [dict(max_tokens=size, drop_range=(lower, upper)) for size, lower, upper in triples]


WIDE = levels((8, 0, 8), (1000, 8, 100000))
NARROW = levels((2, 0, 3), (4, 3, 8), (7, 8, 100000))
DROP = TokenDrop(training=NARROW, test=WIDE)


def scene(grid: tuple[int, int, int], tokens: int, batch: int = 2, seed: int = 0) -> Tensor:
    """Random occupied cells [V,4], dense in a corner of each sample."""
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(batch, *grid, generator=generator)
    chance[:, :, : grid[1] // 2, : grid[2] // 2] *= 3
    cells = chance.flatten().topk(tokens).indices.sort().values
    return torch.stack(torch.unravel_index(cells, (batch, *grid)), dim=1).int()


def windows(coords: Tensor, grid: tuple[int, ...], window: tuple[int, ...], shifted: bool) -> list[tuple[int, ...]]:
    shift = [size // 2 if shifted else size for size in window]
    if window[0] == grid[0]:
        shift[0] = 0
    return [
        (b, *((c + s) // w for c, s, w in zip(zyx, shift, window, strict=True))) for b, *zyx in coords.tolist()
    ]  # fmt: skip


def slow_survivors(
    coords: Tensor, grid: tuple[int, ...], window: tuple[int, ...], rules: list[DropLevel], order: Tensor
) -> list[int]:
    alive = order.argsort().tolist()
    for shifted in (False, True):
        name = windows(coords, grid, window, shifted)
        members = defaultdict(list)
        for token in alive:
            members[name[token]].append(token)
        fits = set()
        for tokens in members.values():
            (size,) = [r["max_tokens"] for r in rules if r["drop_range"][0] <= len(tokens) < r["drop_range"][1]]
            fits |= set(tokens[:size])
        alive = [token for token in alive if token in fits]
    return sorted(alive)


@pytest.mark.parametrize(("grid", "window"), [((1, 12, 12), (1, 4, 4)), ((4, 9, 9), (4, 3, 3)), ((6, 8, 8), (4, 4, 4))])
def test_the_same_tokens_survive_as_in_the_loop(grid: tuple[int, int, int], window: tuple[int, int, int]) -> None:
    coords = scene(grid, 120)
    order = torch.rand(len(coords), generator=torch.Generator().manual_seed(3))
    kept = DROP.survivors(coords, 2, grid, window, True, order).tolist()
    assert kept == slow_survivors(coords, grid, window, NARROW, order)
    assert len(kept) < len(coords)
    for shifted in (False, True):
        names = windows(coords[kept], grid, window, shifted)
        assert max(names.count(name) for name in set(names)) <= NARROW[-1]["max_tokens"]


def test_wide_levels_drop_nothing() -> None:
    assert DROP.drops(True, 16) and not DROP.drops(False, 16)
    coords = scene((1, 12, 12), 120)
    assert DROP.survivors(coords, 2, (1, 12, 12), (1, 4, 4), False).tolist() == list(range(120))
    assert DROP.survivors(coords[:0], 2, (1, 12, 12), (1, 4, 4), True).tolist() == []


def test_sst_drops_in_training_only_and_repeatably() -> None:
    torch.manual_seed(0)
    net = SST(16, 16, 2, 32, 1, window=(1, 4, 4), grid=(1, 12, 12), conv_dilations=(), drop=DROP)
    coords = scene((1, 12, 12), 120)
    tokens = torch.randn(120, 16)

    def occupied() -> Tensor:
        torch.manual_seed(5)
        return net(tokens, coords, 2)

    first = occupied()
    cells = (first != 0).any(dim=1).sum()
    assert cells < 120
    assert torch.equal(first, occupied())
    torch.manual_seed(5)
    kept = DROP.survivors(coords, 2, net.grid, net.window, True)
    assert cells == len(kept)
    assert torch.equal(first, net.eval()(tokens[kept], coords[kept], 2))  # those that stay see nothing of the others
    everything = net(tokens, coords, 2)
    net.drop = None
    assert torch.equal(everything, net.train()(tokens, coords, 2))


@pytest.mark.parametrize(
    "bad", [levels(), levels((0, 0, 9)), levels((4, 2, 9)), levels((4, 0, 4), (9, 5, 9)), levels((4, 0, 0))]
)
def test_impossible_levels_are_refused(bad: list[DropLevel]) -> None:
    with pytest.raises(ValueError, match="test"):
        TokenDrop(training=NARROW, test=bad)

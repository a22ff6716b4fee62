"""SST against outputs of the official code, and its behaviour at the edges."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from perception.engine.convert import read_weights
from perception.engine.convert_sst import PREFIX, convert_sst
from perception.lidar.sst import SST, sine_position

DEFAULT = Path(__file__).resolve().parents[2] / "../shared/reference/sst"
REFERENCE = Path(os.environ.get("PERCEPTION_SST_REFERENCE", DEFAULT))


@pytest.mark.parametrize("name", ["dot_2d", "cosine_2d", "dot_3d", "attached_convs"])
def test_outputs_equal_the_official_code(name: str) -> None:
    path = REFERENCE / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"reference outputs of the official SST are not at {path}")
    data = np.load(path, allow_pickle=False)
    meta = json.loads(bytes(data["meta"]))
    grid, window = tuple(meta["grid_xyz"][::-1]), tuple(meta["window_xyz"][::-1])
    net = SST(
        meta["d_model"],
        channels=meta["d_model"],
        heads=meta["heads"],
        hidden=meta["ffn"],
        blocks=meta["blocks"],
        window=window,
        grid=grid,
        cosine=meta["cosine"],
        tau_min=meta["tau_min"],
        position_temperature=meta["pos_temperature"],
        conv_dilations=(1, 2) if meta["attached_convs"] else (),
    ).eval()
    converted = convert_sst(read_weights(path))
    assert not converted.left_over
    net.load_state_dict({k.removeprefix(PREFIX + "backbone."): v for k, v in converted.state.items()}, strict=True)
    tokens, coords = torch.from_numpy(data["features"]), torch.from_numpy(data["coords_bzyx"]).int()
    with torch.no_grad():
        if meta["attached_convs"]:
            rows, columns = torch.from_numpy(data["cells_yx"]).long().unbind(1)
            out, expected = net(tokens, coords, 1)[0, :, rows, columns].T, data["output_at_cells"]
        else:
            out, expected = net.encode(tokens, coords, 1), data["output"]
    assert np.abs(out.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


def small() -> SST:
    torch.manual_seed(0)
    return SST(8, channels=16, heads=2, hidden=32, blocks=2, window=(1, 4, 4), grid=(1, 12, 12), conv_dilations=())


def scene(cells: list[tuple[int, int, int]]) -> tuple[Tensor, Tensor]:
    coords = torch.tensor([(b, 0, y, x) for b, y, x in cells], dtype=torch.int32).view(-1, 4)
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(cells), 8, generator=generator), coords


def test_no_tokens_and_an_empty_sample() -> None:
    net = small()
    assert net(*scene([]), 2).shape == (2, 16, 12, 12)
    bev = net(*scene([(1, 3, 4), (1, 3, 5)]), 3)
    assert bev[0].abs().sum() == 0 and bev[2].abs().sum() == 0
    assert (bev[1] != 0).any(dim=0).nonzero().tolist() == [[3, 4], [3, 5]]


def test_a_token_depends_on_nothing_outside_the_two_windows_of_a_block() -> None:
    net = small()
    net.block_list = net.block_list[:1]
    tokens, coords = scene([(0, 0, 0), (0, 1, 1), (0, 11, 11)])
    changed = tokens.clone()
    changed[2] += 1
    before, after = net.encode(tokens, coords, 1), net.encode(changed, coords, 1)
    assert torch.equal(before[:2], after[:2])
    assert not torch.equal(before[2], after[2])


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    net = small().eval()
    tokens, coords = scene([(0, 2, 2), (0, 2, 3), (1, 2, 2), (1, 6, 3)])
    both = net.encode(tokens, coords, 2)
    alone = coords[2:].clone()
    alone[:, 0] = 0
    assert torch.allclose(both[2:], net.encode(tokens[2:], alone, 1), atol=1e-6)


def test_checkpointing_changes_no_gradient() -> None:
    tokens, coords = scene([(0, 2, 2), (0, 2, 3), (0, 8, 1)])
    gradients = []
    for on in (False, True):
        net = small()
        net.gradient_checkpointing = on
        net(tokens, coords, 1).square().sum().backward()
        gradients.append([p.grad for p in net.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_position_embedding_pairs_sines_and_cosines() -> None:
    with pytest.raises(ValueError, match="odd length"):
        sine_position(torch.zeros(1, 3, dtype=torch.int32), (1, 4, 4), 10, 1000.0)
    embedding = sine_position(torch.tensor([[0, 2, 2]], dtype=torch.int32), (1, 4, 4), 8, 1000.0)
    assert embedding.tolist() == [[0, 1, 0, 1, 0, 1, 0, 1]]  # the window's centre

"""The optimizer: Muon against singular value decompositions, the rest against torch's AdamW, and its state."""

import copy
import io

import pytest
import torch
from torch import nn

from perception.engine import muon
from perception.engine.muon import MuonAdamW, orthogonal


def gradients(parameters: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (30, 30), (1, 9)])
@pytest.mark.parametrize("fast", [True, False])
def test_orthogonal_keeps_singular_vectors_and_makes_the_values_alike(
    shape: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muon, "has_fast_bfloat16", lambda device: fast)
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    matrices[1] *= 1e-6  # how long a gradient is makes no difference
    u, _, vt = torch.linalg.svd(matrices.double(), full_matrices=False)
    inside = u.mT @ orthogonal(matrices).double() @ vt.mT  # diagonal where the singular vectors are kept
    values = inside.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.4 and values.max() < 1.3
    torch.testing.assert_close(inside, torch.diag_embed(values), atol=0.05 if fast else 1e-4, rtol=0)


def test_of_nothing_comes_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(1, 4, 6)), torch.zeros(1, 4, 6))


def test_a_matrix_moves_by_its_orthogonal_nesterov_momentum() -> None:
    weight = nn.Parameter(torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0)))
    before, momentum = weight.detach().clone(), torch.zeros(8, 75)
    optimizer = MuonAdamW([weight], lr=0.1, weight_decay=0.5, momentum=0.9)
    for step in range(3):
        gradients([weight], step)
        flat = weight.grad.flatten(1)
        momentum = 0.9 * momentum + 0.1 * flat
        update = orthogonal((0.9 * momentum + 0.1 * flat)[None])[0]
        before = (before * (1 - 0.1 * 0.5)).flatten(1) - 0.1 * 0.2 * 75**0.5 * update
        before = before.view(8, 3, 5, 5)
        optimizer.step()
    torch.testing.assert_close(weight.detach(), before)


def test_all_that_is_no_matrix_moves_as_torch_moves_it() -> None:
    ours = [nn.Parameter(torch.randn(7)), nn.Parameter(torch.tensor(2.0))]
    theirs = copy.deepcopy(ours)
    optimizers = (MuonAdamW(ours, lr=0.01, weight_decay=0.1), torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1))
    for step in range(5):
        for parameters, optimizer in zip((ours, theirs), optimizers, strict=True):
            gradients(parameters, step)
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_parameters_of_one_shape_do_not_mix_and_those_without_a_gradient_stay() -> None:
    first, second, still = (nn.Parameter(torch.randn(4, 6)) for _ in range(3))
    alone, before = copy.deepcopy(first), still.detach().clone()
    gradients([first, second], 0)
    alone.grad = first.grad.clone()
    MuonAdamW([first, second, still]).step()
    MuonAdamW([alone]).step()
    torch.testing.assert_close(first, alone)
    assert torch.equal(still, before)


def test_its_state_goes_through_the_safe_loader_and_on() -> None:
    model = nn.Linear(5, 3)
    optimizer = MuonAdamW(model.parameters(), lr=0.01)
    gradients(list(model.parameters()), 0)
    optimizer.step()
    twin = copy.deepcopy(model)
    other = MuonAdamW(twin.parameters(), lr=0.01)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for net, its in ((model, optimizer), (twin, other)):
        gradients(list(net.parameters()), 1)
        its.step()
    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()), atol=0, rtol=0)

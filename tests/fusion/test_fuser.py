"""Fusing two maps: what is missing, and in which cells."""

import pytest
import torch
from torch import Tensor

from perception.fusion.fuser import ConcatFuser, Fuser, GatedFuser


def maps(batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    lidar, camera = (torch.randn(batch, c, 6, 7, generator=generator) for c in (5, 3))
    lidar[:, :, :3] = 0.0
    return [lidar, camera]


def flags(*present: bool) -> list[Tensor]:
    return [torch.tensor([p, p]) for p in present]


@pytest.fixture(params=[ConcatFuser, GatedFuser])
def fuser(request: pytest.FixtureRequest) -> Fuser:
    torch.manual_seed(0)
    return request.param((5, 3), 8).eval()


def test_a_missing_sensor_s_map_has_no_effect(fuser: Fuser) -> None:
    lidar, camera = maps()
    without = fuser([lidar, camera], flags(True, False))
    assert without.shape == (2, 8, 6, 7)
    assert torch.equal(without, fuser([lidar, torch.full_like(camera, 9.0)], flags(True, False)))
    assert not torch.allclose(without, fuser([lidar, camera], flags(True, True)))


def test_each_sample_has_its_own_sensors(fuser: Fuser) -> None:
    both = fuser(maps(), [torch.tensor([True, False]), torch.tensor([True, True])])
    for b, present in enumerate(((True, True), (False, True))):
        alone = fuser([m[b : b + 1] for m in maps()], [torch.tensor([p]) for p in present])
        assert torch.allclose(both[b : b + 1], alone, atol=1e-5)


def test_gates_share_out_one_and_go_wholly_to_the_sensor_that_is_there() -> None:
    torch.manual_seed(0)
    fuser = GatedFuser((5, 3), 8).eval()
    lidar, camera = maps()
    projected = fuser.project[0](lidar)
    assert torch.allclose(fuser([lidar, camera], flags(True, False)), projected, atol=1e-6)
    assert torch.equal(fuser([lidar, camera], flags(False, False)), torch.zeros(2, 8, 6, 7))
    fused, other = fuser([lidar, camera], flags(True, True)), fuser.project[1](camera)
    low, high = torch.minimum(projected, other), torch.maximum(projected, other)
    assert ((fused >= low - 1e-5) & (fused <= high + 1e-5)).all()


def test_gates_know_where_a_map_is_empty() -> None:
    """With every other weight of the gate at zero, what decides is which map holds something in the cell."""
    fuser = GatedFuser((5, 3), 8).eval()
    with torch.no_grad():
        fuser.gate.weight.zero_()
        fuser.gate.bias.zero_()
        for sensor in range(2):
            fuser.gate.weight[sensor, -2 + sensor, 1, 1] = 50.0
    lidar, camera = maps()
    fused = fuser([lidar, camera], flags(True, True))
    assert torch.allclose(fused[:, :, :3], fuser.project[1](camera)[:, :, :3], atol=1e-5)
    half = (fuser.project[0](lidar) + fuser.project[1](camera)) / 2
    assert torch.allclose(fused[:, :, 3:], half[:, :, 3:], atol=1e-5)


def test_gradients_reach_both_sensors_and_stay_finite_where_one_is_missing(fuser: Fuser) -> None:
    fuser.train()
    inputs = [m.requires_grad_() for m in maps()]
    fuser(inputs, [torch.tensor([True, False]), torch.tensor([True, True])]).square().sum().backward()
    assert all(m.grad is not None and torch.isfinite(m.grad).all() and m.grad.any() for m in inputs)
    assert all(torch.isfinite(p.grad).all() for p in fuser.parameters() if p.grad is not None)

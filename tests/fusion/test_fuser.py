"""Fusing two maps: what is missing, and in which cells."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from perception.fusion.fuser import ConcatFuser, Fuser, GatedFuser

CHANNELS = {"lidar": 5, "camera": 3}


def maps(batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    lidar, camera = (torch.randn(batch, c, 6, 7, generator=generator) for c in (5, 3))
    lidar[:, :, :3] = 0.0
    return {"lidar": lidar, "camera": camera}


def flags(lidar: bool, camera: bool) -> dict[str, Tensor]:
    return {"lidar": torch.tensor([lidar, lidar]), "camera": torch.tensor([camera, camera])}


@pytest.fixture(params=[ConcatFuser, GatedFuser])
def fuser(request: pytest.FixtureRequest) -> Fuser:
    torch.manual_seed(0)
    return request.param(CHANNELS, 8).eval()


def test_a_missing_sensor_s_map_has_no_effect(fuser: Fuser) -> None:
    both = maps()
    without = fuser(both, flags(True, False))
    assert without.shape == (2, 8, 6, 7)
    assert torch.equal(without, fuser(both | {"camera": torch.full((2, 3, 6, 7), 9.0)}, flags(True, False)))
    assert not torch.allclose(without, fuser(both, flags(True, True)))


def test_the_sensors_convolutions_are_one_over_the_concatenated_maps() -> None:
    torch.manual_seed(0)
    fuser = ConcatFuser(CHANNELS, 8).eval()
    x = torch.cat(tuple(maps().values()), dim=1)
    weight = torch.cat([conv.weight for conv in fuser.mix.values()], dim=1)
    bias = sum(conv.bias for conv in fuser.mix.values())
    mixed = fuser.norm(F.conv2d(x, weight, bias, padding=1)).relu()
    expected = mixed * fuser.weight(mixed.mean(dim=(2, 3), keepdim=True)).sigmoid()
    torch.testing.assert_close(fuser(maps(), flags(True, True)), expected)


def test_each_sample_has_its_own_sensors(fuser: Fuser) -> None:
    both = fuser(maps(), {"lidar": torch.tensor([True, False]), "camera": torch.tensor([True, True])})
    for b, present in enumerate((flags(True, True), flags(False, True))):
        alone = fuser({s: m[b : b + 1] for s, m in maps().items()}, {s: there[:1] for s, there in present.items()})
        assert torch.allclose(both[b : b + 1], alone, atol=1e-5)


def test_gates_share_out_one_and_go_wholly_to_the_sensor_that_is_there() -> None:
    torch.manual_seed(0)
    fuser = GatedFuser(CHANNELS, 8).eval()
    both = maps()
    projected = fuser.project["lidar"](both["lidar"])
    assert torch.allclose(fuser(both, flags(True, False)), projected, atol=1e-6)
    assert torch.equal(fuser(both, flags(False, False)), torch.zeros(2, 8, 6, 7))
    fused, other = fuser(both, flags(True, True)), fuser.project["camera"](both["camera"])
    low, high = torch.minimum(projected, other), torch.maximum(projected, other)
    assert ((fused >= low - 1e-5) & (fused <= high + 1e-5)).all()


def test_gates_know_where_a_map_is_empty() -> None:
    """With every other weight of the gate at zero, what decides is which map holds something in the cell."""
    fuser = GatedFuser(CHANNELS, 8).eval()
    with torch.no_grad():
        fuser.gate.weight.zero_()
        fuser.gate.bias.zero_()
        for sensor in range(2):
            fuser.gate.weight[sensor, -2 + sensor, 1, 1] = 50.0
    fused = fuser(maps(), flags(True, True))
    lidar, camera = (fuser.project[sensor](m) for sensor, m in maps().items())
    assert torch.allclose(fused[:, :, :3], camera[:, :, :3], atol=1e-5)
    half = (lidar + camera) / 2
    assert torch.allclose(fused[:, :, 3:], half[:, :, 3:], atol=1e-5)


def test_gradients_reach_both_sensors_and_stay_finite_where_one_is_missing(fuser: Fuser) -> None:
    fuser.train()
    inputs = {sensor: m.requires_grad_() for sensor, m in maps().items()}
    present = {"lidar": torch.tensor([True, False]), "camera": torch.tensor([True, True])}
    fuser(inputs, present).square().sum().backward()
    assert all(m.grad is not None and torch.isfinite(m.grad).all() and m.grad.any() for m in inputs.values())
    assert all(torch.isfinite(p.grad).all() for p in fuser.parameters() if p.grad is not None)

"""Any rig through the same weights: how many cameras, in which order, which of them are there."""

import pytest
import torch
from test_lift import GRID, forward_camera
from torch import Tensor

from perception.camera.branch import CameraBranch
from perception.camera.image_head import TridentImageHead
from perception.camera.lift import ScaleAwareLift
from perception.camera.neck import TridentNeck
from perception.camera.rows import placed, present_rows
from perception.camera.semantics import SemanticHead
from perception.camera.trident import TridentResNet

RANGES = ((0.0, 12.0), (6.0, 24.0), (12.0, 1e8))


def branch() -> CameraBranch:
    torch.manual_seed(0)
    backbone = TridentResNet(18, base_channels=16)
    lift = ScaleAwareLift(16, 6, GRID, (1.0, 17.0), 16, valid_ranges_px=RANGES)
    neck, head = TridentNeck(backbone.out_channels, 16), TridentImageHead(16, 3, RANGES)
    return CameraBranch(backbone, neck, lift, SemanticHead(16, 3), head).eval()


def rig(cameras: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Cameras that look all around, each of another focal length."""
    generator = torch.Generator().manual_seed(cameras)
    images = torch.randint(255, (batch, cameras, 3, 32, 64), dtype=torch.uint8, generator=generator)
    matrices = []
    for i in range(cameras):
        angle = torch.tensor(6.2832 * i / cameras)
        turn = torch.eye(4)
        turn[0, 0] = turn[1, 1] = angle.cos()
        turn[0, 1], turn[1, 0] = angle.sin(), -angle.sin()
        matrices.append(forward_camera(30.0 + 4 * i) @ turn)
    return images, torch.stack(matrices).expand(batch, -1, 4, 4), torch.ones(batch, cameras, dtype=torch.bool)


@pytest.mark.parametrize("cameras", [1, 5, 6, 12])
def test_the_order_of_cameras_does_not_matter(cameras: int) -> None:
    net, (images, matrices, mask) = branch(), rig(cameras)
    order = torch.randperm(cameras, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one = net(images, matrices, mask).bev
        other = net(images[:, order], matrices[:, order], mask).bev
    assert one.abs().max() > 0
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_masked_camera_equals_its_absence_and_padding() -> None:
    """The second sample has two cameras of five; what stands in the places of the others is no matter."""
    net, (images, matrices, mask) = branch(), rig(5)
    mask = torch.tensor([[True] * 5, [True, False, True, False, False]])
    images[1, 1], matrices = 255, matrices.clone()
    matrices[1, 3:] = 0
    with torch.no_grad():
        mixed = net(images, matrices, mask).bev
        full = net(images[:1], matrices[:1], mask[:1]).bev
        two = net(images[1:, [0, 2]], matrices[1:, [0, 2]], mask[1:, [0, 2]]).bev
    torch.testing.assert_close(mixed[:1], full, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed[1:], two, atol=1e-5, rtol=1e-5)


def test_in_training_missing_cameras_leave_no_trace_in_the_statistics() -> None:
    images, matrices, mask = rig(4, batch=1)
    states = []
    for kept in ([0, 1, 2, 3], [0, 3]):
        net = branch().train()
        seen = mask.clone()
        seen[:, 1:3] = False
        output = net(images[:, kept], matrices[:, kept], seen[:, kept])
        output.bev.square().sum().backward()
        gradients = {k: p.grad for k, p in net.named_parameters() if p.grad is not None}
        states.append((dict(net.named_buffers()), gradients, output.bev.detach()))
    for name, value in states[0][0].items():
        torch.testing.assert_close(value, states[1][0][name], msg=name)
    assert states[0][1].keys() == states[1][1].keys()
    for name, value in states[0][1].items():
        torch.testing.assert_close(value, states[1][1][name], rtol=1e-3, atol=1e-4, msg=name)
    torch.testing.assert_close(states[0][2], states[1][2], atol=1e-5, rtol=1e-5)


def test_a_batch_without_any_camera_trains_on() -> None:
    images, matrices, mask = rig(2)
    output = branch().train()(images, matrices, torch.zeros_like(mask))
    assert output.bev.abs().max() == 0 and output.bev.requires_grad
    assert present_rows(torch.zeros_like(mask)).tolist() == [0]


def test_results_of_present_cameras_are_put_in_their_places() -> None:
    mask = torch.tensor([[False, True], [True, False]])
    present = present_rows(mask)
    assert present.tolist() == [1, 2]
    rows = torch.tensor([[[5.0], [7.0]]])
    assert placed(rows, present, 4, dim=1).flatten().tolist() == [0, 5, 7, 0]
    assert placed(rows, None, 2) is rows


def test_the_2d_head_runs_in_training_only_and_changes_nothing_else() -> None:
    net, inputs = branch(), rig(2)
    with torch.no_grad():
        quiet = net(*inputs)
        net.train()
        assert net(*inputs).image is not None and quiet.image is None
        net = branch()
        net.image_head = None
        torch.testing.assert_close(net(*inputs).bev, quiet.bev, rtol=0, atol=0)


def test_ranges_must_be_as_many_as_branches() -> None:
    backbone = TridentResNet(18, (2,), base_channels=8)
    with pytest.raises(ValueError, match="lift has valid_ranges_px for 3 branches, the backbone has 1"):
        CameraBranch(backbone, TridentNeck(backbone.out_channels, 16), ScaleAwareLift(16, 6, GRID))

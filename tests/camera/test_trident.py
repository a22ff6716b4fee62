"""The trident backbone against mmdet's, with the same weights."""

import pytest
import torch
from torch import nn

from perception.camera.trident import TridentResNet


def shake(net: nn.Module) -> None:
    """Random kernels, of which mmdet leaves some as the memory was, and batch-norm statistics: no mix-up can hide."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter, generator=generator)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)


def test_branches_equal_mmdets() -> None:
    import perception.engine  # noqa: F401

    # isort: split
    from mmdet.models.backbones import TridentResNet as MMDetTrident

    theirs = MMDetTrident(
        depth=50, num_branch=3, test_branch_idx=-1, trident_dilations=(1, 2, 3), num_stages=3, strides=(1, 2, 2),
        dilations=(1, 1, 1), out_indices=(2,), norm_cfg={"type": "BN"}, base_channels=16,
    )  # fmt: skip
    theirs.eval()
    ours = TridentResNet(50, base_channels=16).eval()
    shake(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, 70, 90, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(images)[0].unflatten(0, (3, 2))
        _, conv4 = ours(images)
    assert conv4.shape == expected.shape
    for branch in range(3):
        assert (conv4[branch] - expected[branch]).abs().max() <= 1e-4 * expected[branch].abs().max()


def test_fast_is_the_middle_branch_of_full() -> None:
    full, fast = TridentResNet(18, base_channels=8).eval(), TridentResNet(18, (2,), base_channels=8).eval()
    fast.load_state_dict(full.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(full(images)[1][1], fast(images)[1][0], atol=1e-5)


def test_dilations_share_weights_but_differ() -> None:
    net = TridentResNet(18, base_channels=8).eval()
    with torch.no_grad():
        conv3, conv4 = net(torch.randn(2, 3, 64, 96))
    assert conv3.shape == (2, 16, 8, 12) and conv4.shape == (3, 2, 32, 4, 6)
    assert not torch.allclose(conv4[0], conv4[2])


@pytest.mark.parametrize("arguments", [{"depth": 19}, {"depth": 18, "trident_blocks": 3}])
def test_refuses_what_does_not_exist(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="depth"):
        TridentResNet(**arguments)

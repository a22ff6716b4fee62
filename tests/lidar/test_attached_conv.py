"""The attached convolutions: folded norms against unfolded, and gradients where one is asked for."""

import pytest
import torch
from torch import nn

from perception.lidar.attached_conv import AttachedConv
from perception.lidar.sst import SST


def shaken(conv: AttachedConv) -> AttachedConv:
    """Random statistics and affine weights, in evaluation mode."""
    norm = conv[1]
    for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
        tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(tensor))))
    norm.running_var.copy_(torch.rand(norm.num_features) + 0.5)
    return conv.eval()


@pytest.mark.parametrize("dilation", [1, 2])
def test_folding_the_norm_changes_nothing(dilation: int) -> None:
    torch.manual_seed(0)
    conv = shaken(AttachedConv(6, dilation))
    bev = torch.randn(2, 6, 11, 9)
    with torch.no_grad():
        expected = nn.Sequential.forward(conv, bev)
        assert torch.allclose(conv(bev), expected, atol=1e-5)


def test_adding_the_shortcut_in_place_equals_adding_it_apart() -> None:
    torch.manual_seed(0)
    net = SST(
        8, channels=8, heads=2, hidden=8, blocks=1, window=(1, 4, 4), grid=(1, 12, 12), conv_dilations=(1, 2)
    ).eval()
    bev = torch.randn(1, 8, 12, 12, requires_grad=True)
    apart = net.attach(bev)
    with torch.no_grad():
        assert torch.allclose(net.attach(bev), apart, atol=1e-6)
    apart.sum().backward()
    assert bev.grad is not None and torch.isfinite(bev.grad).all()

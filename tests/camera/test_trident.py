"""The trident backbone against mmdet's, with the same weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from perception.camera.trident import STAGE_BLOCKS, TridentResNet

DILATIONS = (1, 2, 3)


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


def pictures(seed: int = 1) -> Tensor:
    return torch.randn(2, 3, 70, 90, generator=torch.Generator().manual_seed(seed))


def mmdets_trident(depth: int, style: str) -> nn.Module:
    import perception.engine  # noqa: F401

    # isort: split
    from mmdet.models.backbones import TridentResNet as MMDetTrident

    theirs = MMDetTrident(
        depth=depth, num_branch=3, test_branch_idx=-1, trident_dilations=DILATIONS, num_stages=3, strides=(1, 2, 2),
        dilations=(1, 1, 1), out_indices=(2,), norm_cfg={"type": "BN"}, base_channels=8, style=style,
    )  # fmt: skip
    theirs.eval()
    shake(theirs)
    return theirs


def assert_close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(("depth", "style"), [(50, "pytorch"), (50, "caffe"), (101, "pytorch")])
def test_branches_equal_mmdets(depth: int, style: str) -> None:
    theirs = mmdets_trident(depth, style)
    ours = TridentResNet(depth, base_channels=8, style=style).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        expected = theirs(pictures())[0].unflatten(0, (3, 2))
        _, conv4 = ours(pictures())
    for branch in range(3):
        assert_close(conv4[branch], expected[branch])


def test_gradients_equal_mmdets() -> None:
    """Through the part that is computed once for all branches, too."""
    theirs = mmdets_trident(50, "pytorch")
    ours = TridentResNet(50, base_channels=8).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    expected, (_, conv4) = theirs(pictures())[0], ours(pictures())
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    (expected * weights).sum().backward()
    (conv4.flatten(0, 1) * weights).sum().backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert_close(parameter.grad, gradients[name].grad)


@pytest.mark.parametrize(
    ("depth", "trident_blocks", "conv5"),
    [(18, None, False), (18, 1, True), (34, 4, False), (34, 0, True), (50, 5, True), (101, 22, False)],
)
def test_each_branch_is_mmdets_plain_resnet_dilated(depth: int, trident_blocks: int | None, conv5: bool) -> None:
    """What mmdet's trident backbone does not have: shallow depths, plain blocks before the branches, conv5."""
    import perception.engine  # noqa: F401

    # isort: split
    from mmdet.models.backbones import ResNet

    stages = 4 if conv5 else 3
    theirs = ResNet(
        depth, num_stages=stages, strides=(1, 2, 2, 2)[:stages], dilations=(1,) * stages,
        out_indices=tuple(range(1, stages)), base_channels=8,
    )  # fmt: skip
    theirs.eval()
    shake(theirs)
    ours = TridentResNet(depth, DILATIONS, trident_blocks, base_channels=8, conv5=conv5).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    first = STAGE_BLOCKS[depth][2] - (STAGE_BLOCKS[depth][2] if trident_blocks is None else trident_blocks)
    with torch.no_grad():
        conv3, *maps = ours(pictures())
        assert conv3.shape[1] == ours.out_channels[0] and len(ours.out_channels) == stages - 1
        for branch, dilation in enumerate(DILATIONS):
            for block in (*list(theirs.layer3)[first:], *(theirs.layer4 if conv5 else ())):
                block.conv2.dilation = block.conv2.padding = (dilation, dilation)
            expected = theirs(pictures())
            assert_close(conv3, expected[0])
            for own, other in zip(maps, expected[1:], strict=True):
                assert_close(own[branch], other)


def test_fast_is_the_middle_branch_of_full() -> None:
    full, fast = TridentResNet(18, base_channels=8).eval(), TridentResNet(18, (2,), base_channels=8).eval()
    fast.load_state_dict(full.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        _, everything = full(images)
        assert torch.allclose(everything[1], fast(images)[1][0], atol=1e-5)
        assert torch.allclose(everything[[2, 0]], full(images, branches=(2, 0))[1], atol=1e-5)


def test_dilations_share_weights_but_differ() -> None:
    net = TridentResNet(18, base_channels=8).eval()
    with torch.no_grad():
        conv3, conv4 = net(torch.randn(2, 3, 64, 96))
    assert conv3.shape == (2, 16, 8, 12) and conv4.shape == (3, 2, 32, 4, 6)
    assert not torch.allclose(conv4[0], conv4[2])


def operations(net: nn.Module) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, 64, 64))
    return counter.get_total_flops()


def test_branches_cost_only_what_differs() -> None:
    """Operations of a trident network: plain's, and twice those of its branched blocks behind their first 1x1."""
    plain, trident = TridentResNet(50, (1,), base_channels=8), TridentResNet(50, base_channels=8, trident_blocks=5)
    cells, width = 4 * 4, 8 * 4  # of conv4, and the channels of its 3x3
    square, thin = 2 * cells * 9 * width**2, 2 * cells * 4 * width**2
    assert operations(trident) == operations(plain) + 2 * (5 * (square + thin) + 4 * thin)
    assert operations(TridentResNet(50, (2,), base_channels=8)) == operations(plain)


@pytest.mark.parametrize("arguments", [{"depth": 18, "conv5": True}, {"depth": 50, "trident_blocks": 5}])
def test_compiles_into_one_graph(arguments: dict[str, Any]) -> None:
    net = TridentResNet(base_channels=8, **arguments).eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with torch.no_grad():
        for own, expected in zip(compiled(pictures()), net(pictures()), strict=True):
            assert torch.equal(own, expected)


def test_channels_stay_last() -> None:
    net = TridentResNet(50, base_channels=8, conv5=True).eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        _, *maps = net(pictures().contiguous(memory_format=torch.channels_last))
    for features in maps:
        assert features.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "arguments", [{"depth": 19}, {"depth": 18, "trident_blocks": 3}, {"depth": 50, "style": "torch"}]
)
def test_refuses_what_does_not_exist(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="depth"):
        TridentResNet(**arguments)

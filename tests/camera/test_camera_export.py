"""The camera branch exports for a fixed number of cameras, without its 2D head, and computes the same."""

import torch
from test_rig import branch, rig


def test_exported_branch_equals_the_branch() -> None:
    net, inputs = branch(), rig(3, batch=1)
    inputs[2][0, 1] = False
    program = torch.export.export(net, inputs, strict=False)
    assert any(node.target == torch.ops.perception.bev_pool.default for node in program.graph.nodes)
    other = rig(3, batch=1)
    with torch.no_grad():
        for images, matrices, mask in (inputs, (255 - other[0], other[1].flip(1).contiguous(), other[2])):
            expected = net(images, matrices, mask)
            got = program.module()(images, matrices, mask)
            torch.testing.assert_close(got.bev, expected.bev, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(got.depth_logits, expected.depth_logits, atol=1e-5, rtol=1e-5)

"""The camera branch exports for a fixed number of cameras, without its 2D head but with masks, and stays the same."""

import torch
from test_rig import branch, rig

from perception.camera.panoptic_head import PanopticHead


def test_exported_branch_equals_the_branch() -> None:
    net, inputs = branch(), rig(3, batch=1)
    net.panoptic = PanopticHead(16, 10, 2, channels=16, hidden=16, query_grid=(2, 4)).eval()
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
            torch.testing.assert_close(got.panoptic, expected.panoptic, atol=1e-4, rtol=1e-4)

"""nms of 2,000 proposals of an image, against a greedy pass in torch, and torchvision where it is installed.

Floor: boxes, scores and kept indices at copy bandwidth.
"""

from __future__ import annotations

import importlib.util

import torch
from timing import bytes_of, compare, copy_bandwidth
from torch import Tensor

from perception.ops.nms import nms

BOXES, IOU_THRESHOLD = 2000, 0.7


def random_proposals() -> tuple[Tensor, Tensor]:
    """[K,4] x1 y1 x2 y2 (px) in clusters around objects, and scores [K]."""
    generator = torch.Generator().manual_seed(0)
    objects = torch.rand(BOXES // 20, 2, generator=generator) * torch.tensor([1600.0, 900.0])
    size = 30 * torch.exp(torch.rand(BOXES // 20, 2, generator=generator) * 2)
    centre = objects.repeat(20, 1) + 0.1 * size.repeat(20, 1) * torch.randn(BOXES, 2, generator=generator)
    side = size.repeat(20, 1) * (1 + 0.1 * torch.randn(BOXES, 2, generator=generator))
    return torch.cat((centre - side / 2, centre + side / 2), dim=1), torch.rand(BOXES, generator=generator)


def by_torch(boxes: Tensor, scores: Tensor) -> Tensor:
    """All IoUs at once, then one pass in descending score."""
    order = torch.argsort(scores, descending=True, stable=True)
    low, high = boxes[order, :2], boxes[order, 2:]
    side = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0)
    shared, area = side.prod(-1), (high - low).prod(-1)
    overlaps = shared / (area[:, None] + area - shared) > IOU_THRESHOLD
    alive = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if alive[i]:
            alive[i + 1 :] &= ~overlaps[i, i + 1 :]
    return order[alive]


def main() -> None:
    boxes, scores = random_proposals()
    kept = nms(boxes, scores, IOU_THRESHOLD)
    if not torch.equal(kept, by_torch(boxes, scores)):
        raise RuntimeError("the greedy pass in torch keeps other boxes")
    floor_ms = 1e3 * bytes_of(boxes, scores, kept) / copy_bandwidth()

    def ours() -> Tensor:
        return nms(boxes, scores, IOU_THRESHOLD)

    compare("nms", ours, lambda: by_torch(boxes, scores), "greedy pass in torch", floor_ms)
    if importlib.util.find_spec("torchvision") is not None:
        from torchvision.ops import nms as theirs

        compare("nms", ours, lambda: theirs(boxes, scores, IOU_THRESHOLD), "torchvision", floor_ms)


if __name__ == "__main__":
    main()

"""roi_align of 500 regions, 7 x 7 bins with 2 x 2 samples each, on 256 channels at 100 x 168 cells.

Against torchvision where it is installed, and against grid_sample of every sample followed by a mean. Channels-last
features, which ours needs and the convolutions before it give on a CPU. Floor: the greater of features, regions and
result at copy bandwidth, and the samples' multiplications and additions at the matrix rate.
"""

from __future__ import annotations

import importlib.util

import torch
from timing import bytes_of, compare, compute_rate, copy_bandwidth
from torch import Tensor
from torch.nn import functional as F

from perception.ops.roi_align import roi_align

IMAGES, CHANNELS, HEIGHT, WIDTH = 2, 256, 100, 168
REGIONS, BINS, SAMPLES, SCALE = 500, 7, 2, 0.125


def random_rois() -> Tensor:
    """[R,5] image x1 y1 x2 y2 (px), as a proposal network gives: many small ones, a few large."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, IMAGES, (REGIONS, 1), generator=generator)
    corner = torch.rand(REGIONS, 2, generator=generator) * torch.tensor([WIDTH / SCALE, HEIGHT / SCALE]) * 0.8
    side = 16 * torch.exp(torch.rand(REGIONS, 2, generator=generator) * 3)
    far = torch.minimum(corner + side, torch.tensor([WIDTH / SCALE, HEIGHT / SCALE]))
    return torch.cat((image, corner, far), dim=1)


def by_grid_sample(features: Tensor, rois: Tensor) -> Tensor:
    """Bilinear samples of every region by grid_sample, image by image, averaged over each bin."""
    out = features.new_zeros(len(rois), features.shape[1], BINS, BINS)
    steps = (torch.arange(BINS * SAMPLES) + 0.5) / (BINS * SAMPLES)
    corner, far = rois[:, 1:3] * SCALE, rois[:, 3:5] * SCALE  # grid_sample's pixel edges are aligned ones
    at = corner[:, None] + steps[:, None] * (far - corner)[:, None]  # [R,14,2]
    at = 2 * at / torch.tensor([WIDTH, HEIGHT]) - 1
    for image in range(len(features)):
        chosen = torch.nonzero(rois[:, 0] == image).flatten()
        x, y = at[chosen, None, :, 0], at[chosen, :, None, 1]
        grid = torch.stack(torch.broadcast_tensors(x, y), dim=-1).flatten(0, 1)[None]  # [1,R*14,14,2]
        samples = F.grid_sample(features[image : image + 1], grid, padding_mode="border", align_corners=False)
        samples = samples.view(-1, len(chosen), BINS, SAMPLES, BINS, SAMPLES).mean((3, 5))
        out[chosen] = samples.transpose(0, 1)
    return out


def main() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(IMAGES, CHANNELS, HEIGHT, WIDTH, generator=generator)
    features = features.contiguous(memory_format=torch.channels_last)
    planes = features.contiguous()
    rois = random_rois()

    def ours() -> Tensor:
        return roi_align(features, rois, (BINS, BINS), SCALE, SAMPLES, aligned=True)

    operations = 2 * 4 * REGIONS * (BINS * SAMPLES) ** 2 * CHANNELS
    floor_ms = 1e3 * max(bytes_of(features, rois, ours()) / copy_bandwidth(), operations / compute_rate())
    torch.testing.assert_close(ours(), by_grid_sample(planes, rois), rtol=1e-3, atol=1e-3)
    compare("roi_align", ours, lambda: by_grid_sample(planes, rois), "grid_sample", floor_ms)
    if importlib.util.find_spec("torchvision") is not None:
        from torchvision.ops import roi_align as theirs

        compare(
            "roi_align",
            ours,
            lambda: theirs(planes, rois, (BINS, BINS), SCALE, SAMPLES, aligned=True),
            "torchvision",
            floor_ms,
        )


if __name__ == "__main__":
    main()

"""roi_align against one bilinear sample at a time."""

import math

import pytest
import torch
from torch import Tensor

from perception.ops.roi_align import roi_align


def bilinear(image: Tensor, y: float, x: float) -> Tensor:
    """[C] at (y, x) of [C,H,W]; zero more than a cell outside."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(image.shape[0], dtype=image.dtype)
    y, x = max(y, 0.0), max(x, 0.0)
    total = torch.zeros(image.shape[0], dtype=image.dtype)
    y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
    fy, fx = (y - y0 if y0 < height - 1 else 0.0), (x - x0 if x0 < width - 1 else 0.0)
    for row, weight_y in ((y0, 1 - fy), (y0 + 1, fy)):
        for column, weight_x in ((x0, 1 - fx), (x0 + 1, fx)):
            if weight_y * weight_x > 0:
                total = total + weight_y * weight_x * image[:, row, column]
    return total


def twin(
    features: Tensor, rois: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """In float64, sample by sample."""
    out = torch.zeros(len(rois), features.shape[1], *size, dtype=torch.float64)
    for r, (image, *corners) in enumerate(rois.double().tolist()):
        x1, y1, x2, y2 = (value * scale - (0.5 if aligned else 0.0) for value in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_y, bin_x = height / size[0], width / size[1]
        count_y = sampling_ratio or math.ceil(bin_y)
        count_x = sampling_ratio or math.ceil(bin_x)
        for i in range(size[0]):
            for j in range(size[1]):
                samples = [
                    bilinear(
                        features[int(image)].double(),
                        y1 + (i + (a + 0.5) / count_y) * bin_y,
                        x1 + (j + (b + 0.5) / count_x) * bin_x,
                    )
                    for a in range(count_y)
                    for b in range(count_x)
                ]
                if samples:
                    out[r, :, i, j] = torch.stack(samples).mean(0)
    return out


def random_input(channels: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(channels)
    features = torch.randn(2, channels, 13, 17, generator=generator).to(dtype)
    corner = torch.rand(9, 2, generator=generator) * 60 - 10
    side = torch.rand(9, 2, generator=generator) * 50
    image = torch.randint(0, 2, (9, 1), generator=generator)
    rois = torch.cat((image, corner, corner + side), dim=1)
    rois[0, 1:] = torch.tensor([-500.0, -500, -300, -300])  # outside
    rois[1, 1:] = torch.tensor([-40.0, -40, 130, 130])  # all of the map and more
    rois[2, 1:] = torch.tensor([20.0, 20, 20.5, 20.5])  # smaller than a cell
    rois[3, 1:] = torch.tensor([8.0, 8, 8, 8])  # a point
    return features, rois


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize(("channels", "size"), [(3, (7, 7)), (33, (2, 5)), (1, (1, 1))])
def test_equals_twin(channels: int, size: tuple[int, int], sampling_ratio: int, aligned: bool) -> None:
    features, rois = random_input(channels)
    out = roi_align(features, rois, size, 0.25, sampling_ratio, aligned)
    expected = twin(features, rois, size, 0.25, sampling_ratio, aligned)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=2e-5)
    out = roi_align(features.double(), rois.double(), size, 0.25, sampling_ratio, aligned)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_16_bit_features(dtype: torch.dtype, tolerance: float) -> None:
    features, rois = random_input(20, dtype)
    out = roi_align(features, rois, (3, 4), 0.25, 2)
    assert out.dtype == dtype
    expected = twin(features, rois, (3, 4), 0.25, 2, True)
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)


def test_reversed_corners_sample_backwards() -> None:
    features, rois = random_input(4)
    swapped = rois[4:, [0, 3, 4, 1, 2]]
    expected = twin(features, swapped, (3, 3), 0.25, 2, True)
    torch.testing.assert_close(roi_align(features, swapped, (3, 3), 0.25, 2).double(), expected, rtol=1e-5, atol=2e-5)
    assert not roi_align(features, swapped, (3, 3), 0.25, 0).any()


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_gradients(sampling_ratio: int) -> None:
    features, rois = random_input(2, torch.float64)
    inputs = (features.requires_grad_(),)
    assert torch.autograd.gradcheck(lambda f: roi_align(f, rois[1:], (2, 3), 0.25, sampling_ratio), inputs)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 4e-3)])
def test_gradients_of_many_channels(dtype: torch.dtype, tolerance: float) -> None:
    features, rois = random_input(70, dtype)
    weight = torch.randn(9, 70, 2, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    ours = features.clone().requires_grad_()
    (roi_align(ours, rois, (2, 3), 0.25, 1) * weight).sum().backward()
    reference = features.double().requires_grad_()
    (twin(reference, rois, (2, 3), 0.25, 1, True) * weight.double()).sum().backward()
    torch.testing.assert_close(ours.grad.double(), reference.grad, rtol=tolerance, atol=tolerance * 4)


def test_same_bits_for_any_number_of_threads() -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            features, rois = random_input(100)
            out = roi_align(features.requires_grad_(), rois, (7, 7), 0.25)
            (grad,) = torch.autograd.grad(out.square().sum(), features)
            results.append((out.detach(), grad))
    finally:
        torch.set_num_threads(before)
    for out, grad in results[1:]:
        assert torch.equal(out, results[0][0])
        assert torch.equal(grad, results[0][1])


def test_no_regions_and_any_memory_layout() -> None:
    features, rois = random_input(6)
    assert roi_align(features, rois[:0], (7, 7)).shape == (0, 6, 7, 7)
    empty = features.clone().requires_grad_()
    roi_align(empty, rois[:0], (7, 7)).sum().backward()
    assert torch.equal(empty.grad, torch.zeros_like(features))
    last = features.contiguous(memory_format=torch.channels_last)
    assert torch.equal(roi_align(last, rois, (3, 3), 0.25), roi_align(features, rois, (3, 3), 0.25))


def test_registered_correctly() -> None:
    features, rois = random_input(4)
    arguments = (features.requires_grad_(), rois, 3, 2, 0.25, 2, True)
    torch.library.opcheck(torch.ops.perception.roi_align.default, arguments)
    grad = torch.randn(9, 4, 3, 2)
    torch.library.opcheck(
        torch.ops.perception.roi_align_backward.default, (grad, rois, list(features.shape), 0.25, 2, True)
    )


def test_bad_input_is_refused() -> None:
    features, rois = random_input(4)
    with pytest.raises(ValueError, match="names an image"):
        roi_align(features[:1], rois, (2, 2))
    rois[3, 2] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        roi_align(features, rois, (2, 2))
    with pytest.raises(ValueError, match="image x1 y1 x2 y2"):
        roi_align(features, rois[:, :4], (2, 2))
    with pytest.raises(ValueError, match="positive"):
        roi_align(features, rois, (0, 2))

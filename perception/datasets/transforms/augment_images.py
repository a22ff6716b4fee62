"""Camera images brought to the network's size, with the matrices kept consistent."""

from typing import Any

import cv2
import numpy as np

from perception.datasets.transforms.base import TRANSFORMS, BaseTransform, random_generator
from perception.geometry import image_affine

Interval = tuple[float, float]


@TRANSFORMS.register_module()
class ImageAugment(BaseTransform):
    """Resize, crop, flip and rotate each image to one size, in one resampling; optionally change its colours.

    At scale 1 the image's full width fits the target's, and of its height the lower end is kept: the top is sky. With
    the default intervals the step is deterministic, as testing wants it. Where the target reaches past the image it is
    black. Afterwards camera_images is one array [N,H,W,3] uint8, zero where camera_mask is False.

    Args:
        size_hw: target (rows, columns), px.
        scale: random enlargement beyond fitting the width (below 1: smaller).
        crop_x, crop_y: where the target is cut out, as a fraction of what is left over: 0 is left or top, 1 the other.
        flip: probability of mirroring left and right.
        rotate_rad: random turn about the target's centre, clockwise in the picture when positive.
        brightness, contrast, saturation: a random factor each within 1 -+ this; 0 leaves the colours.
    """

    def __init__(
        self,
        size_hw: tuple[int, int],
        scale: Interval = (1.0, 1.0),
        crop_x: Interval = (0.5, 0.5),
        crop_y: Interval = (1.0, 1.0),
        flip: float = 0.0,
        rotate_rad: Interval = (0.0, 0.0),
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
    ) -> None:
        if min(size_hw) < 1 or scale[0] <= 0:
            raise ValueError(f"size_hw and scale must be positive, got {size_hw} and {scale}")
        self.size_hw = (int(size_hw[0]), int(size_hw[1]))
        self.scale, self.crop_x, self.crop_y, self.flip, self.rotate_rad = scale, crop_x, crop_y, flip, rotate_rad
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        rng = random_generator()
        rows, columns = self.size_hw
        images = np.zeros((len(results["camera_images"]), rows, columns, 3), dtype=np.uint8)
        for i, image in enumerate(results["camera_images"]):
            if image is None:
                continue
            affine = self._sample_affine(image.shape[:2], rng)
            cv2.warpAffine(image, affine[:2], (columns, rows), dst=images[i], flags=cv2.INTER_LINEAR)
            self._change_colours(images[i], rng)
            results["image_aug"][i] = image_affine(affine[:2]) @ results["image_aug"][i]
        results["camera_images"] = images
        return results

    def _sample_affine(self, image_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """The change of pixels [3,3] for one image; integer coordinates are pixel centres."""
        rows, columns = self.size_hw
        zoom = columns / image_hw[1] * rng.uniform(*self.scale)
        # In coordinates whose origin is the images' corner, half a pixel from the first centre, scaling has no shift.
        left = rng.uniform(*self.crop_x) * (image_hw[1] * zoom - columns)
        top = rng.uniform(*self.crop_y) * (image_hw[0] * zoom - rows)
        affine = np.array([[zoom, 0, -left], [0, zoom, -top], [0, 0, 1]])
        if rng.random() < self.flip:
            affine = np.array([[-1, 0, columns], [0, 1, 0], [0, 0, 1]]) @ affine
        if (angle := rng.uniform(*self.rotate_rad)) != 0:
            cos, sin, cx, cy = np.cos(angle), np.sin(angle), columns / 2, rows / 2
            turn = np.array([[cos, -sin, cx - cos * cx + sin * cy], [sin, cos, cy - sin * cx - cos * cy], [0, 0, 1]])
            affine = turn @ affine
        to_corner, to_centre = np.eye(3), np.eye(3)
        to_corner[:2, 2], to_centre[:2, 2] = 0.5, -0.5
        return to_centre @ affine @ to_corner

    def _change_colours(self, image: np.ndarray, rng: np.random.Generator) -> None:
        bright, contrast, saturation = (
            1 + rng.uniform(-amount, amount) if amount else 1.0
            for amount in (self.brightness, self.contrast, self.saturation)
        )
        if bright != 1 or contrast != 1:
            # value * bright, then stretched about mid-grey.
            table = (np.arange(256) * bright - 128) * contrast + 128
            cv2.LUT(image, np.clip(table + 0.5, 0, 255).astype(np.uint8), dst=image)
        if saturation != 1:
            grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            cv2.addWeighted(image, saturation, grey, 1 - saturation, 0, dst=image)

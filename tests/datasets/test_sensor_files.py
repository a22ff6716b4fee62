"""Point clouds and images: what is damaged is named, what is empty works, what is reduced stays aligned."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from perception.datasets.sensor_files import read_image, read_points


def test_points_round_trip_and_an_empty_sweep_is_no_points(tmp_path):
    points = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    points.tofile(tmp_path / "a.bin")
    np.testing.assert_array_equal(read_points(tmp_path / "a.bin"), points)
    (tmp_path / "empty.bin").touch()
    assert read_points(tmp_path / "empty.bin").shape == (0, 5)
    points[:, :4].copy().tofile(tmp_path / "four.bin")
    np.testing.assert_array_equal(read_points(tmp_path / "four.bin", 4), points[:, :4])


def test_damaged_clouds_are_named(tmp_path):
    points = np.zeros((7, 5), np.float32)
    points[2, 1], points[5, 3] = np.nan, np.inf
    points.tofile(tmp_path / "nan.bin")
    with pytest.raises(ValueError, match=r"2 points of 7 with NaN or infinity: .*nan\.bin"):
        read_points(tmp_path / "nan.bin")
    (tmp_path / "cut.bin").write_bytes(points.tobytes()[:-1])
    with pytest.raises(ValueError, match=r"truncated: .*cut\.bin has 139 bytes, not a multiple of 20"):
        read_points(tmp_path / "cut.bin")
    with pytest.raises(FileNotFoundError, match=r"none\.bin"):
        read_points(tmp_path / "none.bin")
    with pytest.raises(ValueError, match="num_pts_feats = 2"):
        read_points(tmp_path / "cut.bin", 2)


@pytest.fixture
def jpeg() -> bytes:
    """A smooth 160 x 96 picture: red grows to the right, green downwards."""
    v, u = np.mgrid[0:96, 0:160]
    picture = np.stack([u, v * 2, np.full_like(u, 50)], -1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def test_images_are_rgb(tmp_path, jpeg):
    (tmp_path / "a.jpg").write_bytes(jpeg)
    image, factor = read_image(tmp_path / "a.jpg")
    assert factor == 1 and image.shape == (96, 160, 3)
    expected = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
    assert np.abs(image.astype(int) - expected).max() <= 3


@pytest.mark.parametrize(
    ("min_hw", "expected_factor"), [((96, 160), 1), ((49, 10), 1), ((48, 80), 2), ((20, 30), 4), ((5, 10), 8)]
)
def test_reduced_decoding_averages_the_pixels_that_it_says(tmp_path, jpeg, min_hw, expected_factor):
    (tmp_path / "a.jpg").write_bytes(jpeg)
    full, _ = read_image(tmp_path / "a.jpg")
    image, factor = read_image(tmp_path / "a.jpg", min_hw)
    assert factor == expected_factor and image.shape[:2] == (96 // factor, 160 // factor)
    blocks = full.reshape(96 // factor, factor, 160 // factor, factor, 3).mean(axis=(1, 3))
    assert np.abs(image - blocks).max() <= 4


def test_exif_rotation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees for display
    Image.new("RGB", (40, 20), (200, 10, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg")[0].shape == (20, 40, 3)


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.99])
def test_truncated_jpegs_are_refused_by_name(tmp_path, jpeg, keep):
    (tmp_path / "cut.jpg").write_bytes(jpeg[: int(len(jpeg) * keep)])
    with pytest.raises(ValueError, match=r"(truncated|empty).*cut\.jpg"):
        read_image(tmp_path / "cut.jpg")


def test_trailing_bytes_after_a_whole_jpeg_do_no_harm(tmp_path, jpeg):
    (tmp_path / "a.jpg").write_bytes(jpeg + bytes(64))
    assert read_image(tmp_path / "a.jpg")[0].shape == (96, 160, 3)


def test_other_files_are_refused_by_name(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(ValueError, match=r"not an image: .*text\.jpg"):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        read_image(tmp_path / "none.jpg")
    encoded = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8))[1].tobytes()
    (tmp_path / "cut.png").write_bytes(encoded[:1000])
    with pytest.raises(ValueError, match=r"truncated.*cut\.png"):
        read_image(tmp_path / "cut.png")

"""Videos, read back by OpenCV."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.visualization.video import write_mp4


def test_frames_come_back(tmp_path: Path) -> None:
    pictures = [np.full((61, 80, 3), colour, np.uint8) for colour in ((220, 20, 20), (20, 220, 20), (20, 20, 220))]
    video = cv2.VideoCapture(str(write_mp4(tmp_path / "out" / "scene.mp4", iter(pictures), fps=2.0)))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(2.0)
    for picture in pictures:
        read, frame = video.read()
        assert read
        assert frame.shape == (60, 80, 3)
        assert np.abs(frame[30, 40, ::-1].astype(int) - picture[30, 40]).max() < 25
    assert not video.read()[0]


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        write_mp4(tmp_path / "a.mp4", [])
    with pytest.raises(ValueError, match="picture 1 is 40x40"):
        write_mp4(tmp_path / "a.mp4", [np.zeros((60, 80, 3), np.uint8), np.zeros((40, 40, 3), np.uint8)])
    assert list(tmp_path.iterdir()) == []

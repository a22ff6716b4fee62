"""What all pictures share: class colours, the font, lines with a dark edge. Colours are RGB, 0..255."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

BACKGROUND: Colour = (14, 17, 23)
PANEL: Colour = (24, 29, 38)
INK: Colour = (232, 236, 242)
FAINT_INK: Colour = (142, 152, 168)

# Bright on dark asphalt and on the dark map; vehicles warm, people and cycles cool, road furniture red and green.
CLASS_COLOURS: dict[str, Colour] = {
    "car": (255, 176, 0),
    "truck": (255, 111, 60),
    "bus": (255, 232, 84),
    "trailer": (205, 145, 85),
    "construction_vehicle": (178, 230, 70),
    "pedestrian": (76, 195, 255),
    "motorcycle": (255, 95, 162),
    "bicycle": (190, 130, 255),
    "traffic_cone": (255, 59, 48),
    "barrier": (46, 230, 168),
}
# Kinds of evaluation.frame_errors.
ERROR_COLOURS: dict[str, Colour] = {
    "right": (70, 200, 110),
    "wrong class": (190, 110, 255),
    "false": (255, 80, 60),
    "missed": (255, 190, 30),
}
_SPARE: list[Colour] = [(150, 220, 220), (255, 190, 190), (200, 200, 110), (140, 160, 255), (230, 230, 230)]
_SUBPIXEL_BITS = 4


def class_colour(name: str) -> Colour:
    """Colour of a class or of a kind of error; a class beyond nuScenes' ten gets a spare colour, always the same
    one."""
    return CLASS_COLOURS.get(name) or ERROR_COLOURS.get(name) or _SPARE[sum(name.encode()) % len(_SPARE)]


@lru_cache(maxsize=16)
def _font(size_px: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size_px)


def text_width(text: str, size_px: int, bold: bool = False) -> int:
    """Width of a line of text in pixels."""
    return round(_font(size_px, bold).getlength(text))


def draw_texts(
    canvas: np.ndarray, texts: Sequence[tuple[str, tuple[float, float], int, Colour, bool]], anchor: str = "lm"
) -> None:
    """Write lines of text (text, (x, y) px, size px, colour, bold) into canvas [H,W,3] uint8 in place.

    anchor: which point of the text stands at (x, y), as PIL names it ("lm": left, middle).
    """
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for text, position, size_px, colour, bold in texts:
        draw.text(position, text, fill=colour, font=_font(size_px, bold), anchor=anchor)
    canvas[:] = np.asarray(image)


def draw_segments(
    canvas: np.ndarray, segments: np.ndarray, colour: Colour, width_px: int, dash_px: float = 0.0, edge: bool = True
) -> None:
    """Draw segments [S,2,2] (x y, px) into canvas [H,W,3] uint8 in place, smooth and, with `edge`, dark-rimmed.

    dash_px: length of the dashes and the gaps between them; 0 draws solid lines.
    """
    height, width = canvas.shape[:2]
    pieces = [piece for segment in segments for piece in _dashes(_clipped(segment, width, height), dash_px)]
    if edge:
        for start, end in pieces:
            _line(canvas, start, end, (10, 10, 12), width_px + 2)
    for start, end in pieces:
        _line(canvas, start, end, colour, width_px)


def _line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, colour: Colour, width_px: int) -> None:
    a, b = (tuple(int(v) for v in np.round(point * 2**_SUBPIXEL_BITS)) for point in (start, end))
    cv2.line(canvas, a, b, colour, width_px, cv2.LINE_AA, _SUBPIXEL_BITS)


def _clipped(segment: np.ndarray, width: int, height: int, margin_px: float = 20.0) -> np.ndarray | None:
    """The part of a segment in the canvas and a margin (Liang-Barsky): far ends would overflow OpenCV's integers."""
    start, end = segment.astype(np.float64)
    delta = end - start
    low, high = 0.0, 1.0
    for axis, size in ((0, width), (1, height)):
        if delta[axis] == 0:
            if not -margin_px <= start[axis] <= size + margin_px:
                return None
            continue
        a, b = sorted(((-margin_px - start[axis]) / delta[axis], (size + margin_px - start[axis]) / delta[axis]))
        low, high = max(low, a), min(high, b)
    return np.stack([start + low * delta, start + high * delta]) if low < high else None


def _dashes(segment: np.ndarray | None, dash_px: float) -> list[tuple[np.ndarray, np.ndarray]]:
    if segment is None:
        return []
    start, end = segment
    length = float(np.linalg.norm(end - start))
    # An odd number of equal pieces: a dash at both ends keeps the corners of a box closed.
    count = 2 * round(length / dash_px / 2) + 1 if dash_px else 1
    knots = np.linspace(start, end, count + 1)
    return [(knots[i], knots[i + 1]) for i in range(0, count, 2)]


def blend_polygon(canvas: np.ndarray, polygon: np.ndarray, colour: Colour, opacity: float) -> None:
    """Lay a translucent convex polygon [V,2] (x y, px) over canvas [H,W,3] uint8 in place."""
    height, width = canvas.shape[:2]
    low = np.clip(np.floor(polygon.min(0)) - 1, 0, [width, height]).astype(int)
    high = np.clip(np.ceil(polygon.max(0)) + 2, 0, [width, height]).astype(int)
    if (high <= low).any():
        return
    part = canvas[low[1] : high[1], low[0] : high[0]]
    layer = part.copy()
    corners = np.round((np.clip(polygon, -1e5, 1e5) - low) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.fillConvexPoly(layer, corners, colour, cv2.LINE_AA, _SUBPIXEL_BITS)
    cv2.addWeighted(layer, opacity, part, 1 - opacity, 0, dst=part)

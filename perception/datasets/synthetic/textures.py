"""Small pictures made once: facades, leaves, clouds, noise, rain."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from perception.datasets.synthetic.scenery import NUM_FACADES, NUM_FOLIAGE

FACADE_PX = 64  # one bay of a facade: FACADE_M square
FACADE_M = 3.4
SHADES = 5  # of leaves
SKY_ROWS, SKY_COLUMNS = 128, 2048
SKY_TOP_RAD = np.radians(50.0)


@dataclass(frozen=True)
class Textures:
    """Pictures that all cameras of a scene share."""

    facades: tuple[
        tuple[np.ndarray, ...], ...
    ]  # [facade][level] float32 BGR [n,n,3], n halves per level; lit windows above 255
    leaves: tuple[np.ndarray, ...]  # uint8 [128,128], 0 transparent, 1..SHADES
    clouds: np.ndarray  # float32 [SKY_ROWS,SKY_COLUMNS] 0..1, rows from the horizon up
    grain: np.ndarray  # uint8 [1024,1728], mean 128: sensor noise
    rain: np.ndarray  # uint8 [1024,1728]: streaks


def make_textures(rng: np.random.Generator, lit_windows: bool) -> Textures:
    """All pictures of a scene."""
    facades = []
    for kind in range(NUM_FACADES):
        tile = _facade(rng, kind, lit_windows)
        facades.append(tuple(cv2.resize(tile, (n, n), interpolation=cv2.INTER_AREA) for n in (256, 128, 64, 32, 16)))
    leaves = tuple(_leaves(rng) for _ in range(NUM_FOLIAGE))
    clouds = np.zeros((SKY_ROWS, SKY_COLUMNS), dtype=np.float32)
    for scale, weight in ((6, 0.45), (12, 0.28), (24, 0.16), (48, 0.11)):
        layer = rng.random((scale, 2 * scale)).astype(np.float32)
        layer = np.concatenate([layer, layer[:, :1]], axis=1)  # the circle closes
        clouds += weight * cv2.resize(layer, (SKY_COLUMNS, SKY_ROWS), interpolation=cv2.INTER_CUBIC)
    clouds = np.clip((clouds - 0.42) * 4.5, 0, 1)
    grain = np.clip(rng.normal(128, 8, (1024, 1728)), 0, 255).astype(np.uint8)
    return Textures(tuple(facades), leaves, clouds, grain, _rain(rng))


def _facade(rng: np.random.Generator, kind: int, lit: bool) -> np.ndarray:
    """Four by four bays of a wall with windows, on 256 px."""
    walls = ((165, 175, 182), (110, 135, 165), (190, 190, 188), (140, 120, 105), (95, 105, 120), (205, 215, 222))
    wall = np.array(walls[kind % len(walls)]) * rng.uniform(0.85, 1.1)
    n = 4 * FACADE_PX
    tile = np.clip(wall + rng.normal(0, 5, (n, n, 1)), 0, 255).astype(np.float32)
    if kind % 3 == 1:
        for y in range(0, n, 8):  # courses of brick
            tile[y] *= 0.85
    glass_band = kind % 3 == 2
    for row in range(4):
        for column in range(4):
            x, y = column * FACADE_PX, row * FACADE_PX
            box = (2, 14, 60, 34) if glass_band else (14, 12, 36, 38)
            glass = np.array((120, 105, 85)) * rng.uniform(0.55, 1.25)
            if lit:
                glass = np.array((120, 205, 255)) * rng.uniform(3.0, 5.0) if rng.random() < 0.3 else glass * 0.3
            left, top = x + box[0], y + box[1]
            colour = tuple(glass.tolist())
            cv2.rectangle(tile, (left, top), (left + box[2], top + box[3]), colour, -1)
            cv2.rectangle(tile, (left, top), (left + box[2], top + box[3]), tuple((0.6 * wall).tolist()), 2)
            if not glass_band:
                middle = left + box[2] // 2
                cv2.line(tile, (middle, top), (middle, top + box[3]), tuple((0.7 * wall).tolist()), 2)
                cv2.rectangle(
                    tile,
                    (left - 2, top + box[3]),
                    (left + box[2] + 2, top + box[3] + 3),
                    tuple((1.1 * wall).tolist()),
                    -1,
                )
        cv2.line(tile, (0, row * FACADE_PX), (n, row * FACADE_PX), tuple((0.75 * wall).tolist()), 2)
    return tile


def _leaves(rng: np.random.Generator) -> np.ndarray:
    """A round tuft of leaves, lighter above."""
    n = 128
    picture = np.zeros((n, n), dtype=np.uint8)
    count = 900
    radius = np.sqrt(rng.random(count)) * 0.42
    angle = rng.uniform(-np.pi, np.pi, count)
    x, y = 0.5 + radius * np.cos(angle), 0.5 + radius * np.sin(angle)
    for k in rng.permutation(count):
        light = 0.5 + (0.5 - y[k]) + rng.normal(0, 0.22)
        shade = int(np.clip(1 + light * SHADES, 1, SHADES))
        centre = (int(x[k] * n), int(y[k] * n))
        cv2.ellipse(
            picture,
            centre,
            (int(rng.integers(3, 8)), int(rng.integers(2, 5))),
            float(rng.uniform(0, 180)),
            0,
            360,
            (shade,),
            -1,
        )
    return picture


def _rain(rng: np.random.Generator) -> np.ndarray:
    picture = np.zeros((1024, 1728), dtype=np.uint8)
    for _ in range(1500):
        x, y = rng.integers(0, (1728, 1024))
        length, slant = rng.integers(14, 60), rng.normal(0.06, 0.03)
        end = (int(x + slant * length), int(y + length))
        cv2.line(picture, (int(x), int(y)), end, (int(rng.integers(12, 52)),), int(rng.integers(1, 3)), cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (3, 3), 0)

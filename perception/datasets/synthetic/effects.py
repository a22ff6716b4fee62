"""Light on surfaces, and what lens, weather and sensor do to a picture."""

from __future__ import annotations

import cv2
import numpy as np

from perception.datasets.synthetic.backdrop import beam
from perception.datasets.synthetic.shapes import Finish
from perception.datasets.synthetic.textures import Textures
from perception.datasets.synthetic.weather import Weather

_HEADLIGHT = (245.0, 252.0, 255.0)
_TAILLIGHT = (45.0, 40.0, 250.0)
Lamp = tuple[int, int, float, int]  # pixel u, v, glow radius (px), finish


def lit(
    colour: np.ndarray,
    finish: np.ndarray,
    normal: np.ndarray,
    middle: np.ndarray,
    facing: np.ndarray,
    lamps_on: np.ndarray,
    ego_from_camera: np.ndarray,
    weather: Weather,
) -> np.ndarray:
    """Seen colours [Q,3] (BGR 0..255) of surfaces.

    `colour` [Q,3] and `finish` [Q] of the surface, its `normal` [Q,3] (global frame) and `middle` [Q,3] (camera
    frame, m), the cosine `facing` [Q] towards the camera, and whether its lamps shine [Q].
    """
    sun = np.maximum(normal @ weather.sun, 0.0)
    light = weather.ambient * (0.84 + 0.16 * normal[:, 2]) + 1.3 * weather.sun_light * sun
    if weather.headlights:
        place = middle @ ego_from_camera[:3, :3].T + ego_from_camera[:3, 3]
        strength = 1.1 if weather.dark else 0.25
        light = light + strength * beam(place[:, 0], place[:, 1]) * (0.3 + 0.7 * facing)
    result = colour * light[:, None] * np.array(weather.tint)
    glass = finish == Finish.GLASS
    mirror = (0.22 + 0.6 * (1 - np.clip(facing[glass], 0, 1)) ** 2)[:, None]
    sky = 0.75 * np.array(weather.sky_horizon) if not weather.dark else np.array((40.0, 36.0, 34.0))
    result[glass] = result[glass] * (1 - mirror) + sky * mirror
    result[(finish == Finish.HEADLIGHT) & lamps_on] = _HEADLIGHT
    result[(finish == Finish.TAILLIGHT) & lamps_on] = _TAILLIGHT
    lamp = finish == Finish.LAMP
    result[lamp] = colour[lamp]
    return _hazy(result, middle, weather)


def lit_flat(colour: np.ndarray, middle: np.ndarray, weather: Weather) -> np.ndarray:
    """Seen colours [Q,3] of leaves, which have no normal."""
    light = weather.ambient + 0.6 * weather.sun_light
    return _hazy(colour * light * np.array(weather.tint), middle, weather)


def _hazy(colour: np.ndarray, middle: np.ndarray, weather: Weather) -> np.ndarray:
    share = 1 - np.exp(-np.linalg.norm(middle, axis=1) / weather.visibility_m)[:, None]
    return np.asarray(np.clip(colour * (1 - share) + np.array(weather.sky_horizon) * share, 0, 255))


def finish(
    image: np.ndarray,
    weather: Weather,
    textures: Textures,
    lamps: list[Lamp],
    intrinsic: np.ndarray,
    camera_from_global: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Lens and sensor: glowing lamps, glare, rain, blur, exposure and noise, on a picture [H,W,3]."""
    height, width = image.shape[:2]
    scale = width / 1600
    glow = np.zeros((height // 4, width // 4, 3), dtype=np.float32)
    if lamps:
        _add_lamps(glow, lamps, weather)
    if weather.glare > 0:
        _add_glare(glow, weather, intrinsic, camera_from_global)
    if glow.any():
        image = cv2.add(image, cv2.resize(np.clip(glow, 0, 255).astype(np.uint8), (width, height)))
    image = cv2.GaussianBlur(image, (3, 3), 0.3 + 0.35 * scale)
    if weather.rain > 0:
        image = _rainy(image, weather, textures, rng)
    gain = float(rng.uniform(0.94, 1.06))
    noise = 0.9 if weather.dark else 0.4
    x, y = rng.integers(0, textures.grain.shape[1] - width), rng.integers(0, textures.grain.shape[0] - height)
    grain = cv2.cvtColor(textures.grain[y : y + height, x : x + width], cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.addWeighted(image, gain, grain, noise, -128 * noise))


def _add_lamps(glow: np.ndarray, lamps: list[Lamp], weather: Weather) -> None:
    strength = 1.0 if weather.dark else 0.45
    colours = {
        Finish.HEADLIGHT: (215.0, 228.0, 235.0),
        Finish.TAILLIGHT: (25.0, 25.0, 190.0),
        Finish.LAMP: (90.0, 150.0, 180.0),
    }
    for u, v, radius, kind in lamps:
        reach = int(np.clip(radius / 4 * (2.6 if kind == Finish.HEADLIGHT else 1.5), 1.5, 40))
        x, y = u // 4, v // 4
        offset = np.arange(-3 * reach, 3 * reach + 1, dtype=np.float32)
        spot = np.exp(-np.hypot(offset[:, None], offset[None]) / reach) - np.exp(-3.0)
        x0, x1 = max(x - 3 * reach, 0), min(x + 3 * reach + 1, glow.shape[1])
        y0, y1 = max(y - 3 * reach, 0), min(y + 3 * reach + 1, glow.shape[0])
        if x0 >= x1 or y0 >= y1:
            continue
        part = spot[y0 - y + 3 * reach : y1 - y + 3 * reach, x0 - x + 3 * reach : x1 - x + 3 * reach]
        glow[y0:y1, x0:x1] += (
            np.maximum(part, 0)[..., None] * np.array(colours[Finish(kind)], dtype=np.float32) * strength
        )


def _add_glare(glow: np.ndarray, weather: Weather, intrinsic: np.ndarray, camera_from_global: np.ndarray) -> None:
    """Veil and bloom of a low sun."""
    sun = camera_from_global[:3, :3] @ weather.sun
    rows, columns = np.indices(glow.shape[:2], dtype=np.float32) * 4
    ray = np.stack(
        [(columns - intrinsic[0, 2]) / intrinsic[0, 0], (rows - intrinsic[1, 2]) / intrinsic[1, 1], np.ones_like(rows)]
    )
    cosine = np.tensordot(sun.astype(np.float32), ray, 1) / np.linalg.norm(ray, axis=0)
    away = np.arccos(np.clip(cosine, -1, 1))
    veil = 200 * np.exp(-((away / 0.12) ** 2)) + 150 * np.exp(-away / 0.3) + 60 * np.exp(-away / 0.9)
    glow += (weather.glare * veil)[..., None] * np.array((0.86, 0.95, 1.0), dtype=np.float32)


def _rainy(image: np.ndarray, weather: Weather, textures: Textures, rng: np.random.Generator) -> np.ndarray:
    """Streaks in the air and drops on the lens."""
    height, width = image.shape[:2]
    scale = width / 1600
    x, y = rng.integers(0, textures.rain.shape[1] - width), rng.integers(0, textures.rain.shape[0] - height)
    streaks = textures.rain[y : y + height, x : x + width]
    image = cv2.add(image, cv2.cvtColor(cv2.convertScaleAbs(streaks, alpha=weather.rain), cv2.COLOR_GRAY2BGR))
    for _ in range(rng.poisson(9 * weather.rain)):
        radius = int(max(3, rng.gamma(4, 7) * scale))
        u, v = int(rng.integers(radius, width - radius)), int(rng.integers(radius, height - radius))
        part = image[v - radius : v + radius, u - radius : u + radius]
        # A drop is a small lens: it shows the surroundings blurred and upside down.
        size = 2 * max(1, radius // 3) + 1
        inside = cv2.blur(cv2.flip(part, -1), (size, size))
        disc = np.zeros(part.shape[:2], dtype=np.uint8)
        cv2.circle(disc, (radius, radius), radius - 1, (255,), -1, cv2.LINE_AA)
        share = cv2.blur(disc, (size, size))[..., None] / 255.0 * 0.85
        part[:] = (part * (1 - share) + np.clip(inside * 1.08, 0, 255) * share).astype(np.uint8)
    return np.asarray(image)

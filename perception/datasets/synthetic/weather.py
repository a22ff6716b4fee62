"""Light and weather of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# One conditions list for any number of scenes: any five scenes in a row hold daylight, a dark scene and a wet one.
CONDITIONS = ("day", "night", "overcast", "rain", "day", "glare", "dusk", "day", "rain", "night", "overcast", "day")


@dataclass(frozen=True)
class Weather:
    """How a scene is lit, and what its sensors suffer."""

    kind: str
    sun: np.ndarray  # [3] unit vector towards the sun, global frame
    sun_light: float  # share of light that comes from the sun
    ambient: float  # share that comes from everywhere
    tint: tuple[float, float, float]  # BGR gain of the light
    sky_top: tuple[float, float, float]  # BGR
    sky_horizon: tuple[float, float, float]
    clouds: float  # 0..1
    visibility_m: float  # haze takes 63% of the contrast at this range
    rain: float = 0.0  # 0..1: streaks, lens drops, LiDAR dropout
    glare: float = 0.0  # 0..1: bloom about the sun
    headlights: bool = False

    @property
    def dark(self) -> bool:
        """Lamps are lit and the ground is not."""
        return self.kind == "night"

    @property
    def on_ground(self) -> tuple[float, float, float]:
        """Light (BGR gain) on the open ground."""
        level = self.ambient + 1.3 * self.sun_light * float(self.sun[2])
        blue, green, red = self.tint
        return level * blue, level * green, level * red


def sample_weather(index: int, rng: np.random.Generator) -> Weather:
    """Weather of the index-th scene, its kind from CONDITIONS and the rest by chance."""
    kind = CONDITIONS[index % len(CONDITIONS)]
    azimuth = rng.uniform(-np.pi, np.pi)
    elevation = np.radians({"glare": rng.uniform(7, 12), "dusk": rng.uniform(6, 12)}.get(kind, rng.uniform(30, 65)))
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    clouds, visibility_m = float(rng.uniform(0.2, 0.7)), float(rng.uniform(350, 700))
    if kind == "night":
        return Weather(
            kind, sun, 0.0, 0.18, (1.05, 0.97, 0.95), (30, 20, 14), (52, 42, 36), 0.1, 260.0, headlights=True
        )
    if kind == "dusk":
        return Weather(
            kind, sun, 0.28, 0.36, (0.9, 0.96, 1.1), (150, 105, 80), (130, 170, 235), clouds, 320.0, headlights=True
        )
    if kind == "rain":
        grey = float(rng.uniform(140, 165))
        sky = (grey, grey, grey)
        return Weather(
            kind,
            sun,
            0.06,
            0.62,
            (1.04, 1.0, 0.97),
            sky,
            sky,
            1.0,
            130.0,
            float(rng.uniform(0.5, 1.0)),
            headlights=True,
        )
    if kind == "overcast":
        return Weather(kind, sun, 0.1, 0.78, (1.02, 1.0, 0.98), (205, 200, 195), (222, 220, 218), 1.0, visibility_m)
    if kind == "glare":
        sky = (225, 215, 205)
        return Weather(
            kind,
            sun,
            0.5,
            0.48,
            (0.94, 1.0, 1.06),
            sky,
            (235, 240, 245),
            0.4,
            280.0,
            glare=float(rng.uniform(0.7, 1.0)),
        )
    return Weather(kind, sun, 0.5, 0.52, (0.97, 1.0, 1.03), (225, 165, 110), (240, 228, 215), clouds, visibility_m)

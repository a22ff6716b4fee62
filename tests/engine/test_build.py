"""Objects from configs, and command-line options."""

from dataclasses import dataclass

import pytest

from perception.engine.build import build
from perception.engine.options import parse_options


@dataclass
class Wheel:
    radius_m: float


@dataclass
class Car:
    wheels: list[Wheel]
    spare: Wheel | None = None


def test_builds_innermost_first() -> None:
    car = build({"type": Car, "wheels": [{"type": Wheel, "radius_m": 0.3}] * 2, "spare": Wheel(0.2)})
    assert car == Car([Wheel(0.3), Wheel(0.3)], Wheel(0.2))


def test_names_the_class_that_refuses() -> None:
    with pytest.raises(TypeError, match=r"Wheel: .*diameter"):
        build({"type": Wheel, "diameter": 1})
    with pytest.raises(TypeError, match="must be a class"):
        build({"type": "Wheel", "radius_m": 1})


def test_options_are_literals_or_text() -> None:
    assert parse_options(["a.b=3", "c=[1, 2]", "d=bf16", "e=x=y"]) == {"a.b": 3, "c": [1, 2], "d": "bf16", "e": "x=y"}
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_options(["a.b"])

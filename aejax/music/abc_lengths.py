"""Lengths in ABC notation: of bars, of the unit, of notes."""

import re
from fractions import Fraction


def bar_length(meter: str) -> Fraction:
    """What an M: field asks of a bar, in sixteenths; 0 if nothing."""
    meter = {"C": "4/4", "C|": "2/2"}.get(meter, meter)
    found = re.fullmatch(r"(\d+)/([1-9]\d*)", meter)
    return Fraction(16 * int(found[1]), int(found[2])) if found else Fraction(0)


def unit_length(unit: str) -> Fraction | None:
    """An L: field, such as "1/8", in sixteenths."""
    found = re.match(r"\s*(\d+)/([1-9]\d*)", unit)
    return Fraction(16 * int(found[1]), int(found[2])) if found else None


def default_unit(meter: str) -> Fraction:
    """Without an L: a sixteenth in meters below 3/4, an eighth in others (ABC 2.1, 3.1.7)."""
    return Fraction(1 if 0 < bar_length(meter) < 12 else 2)


def factor(text: str) -> Fraction:
    """A length as it is written, in units: "3/2", "/", "//", "2", ""."""
    number, *parts = text.split("/")
    below = 1
    for part in parts:
        below *= int(part or 2) or 1
    return Fraction(int(number or 1), below)

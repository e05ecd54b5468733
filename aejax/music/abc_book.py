"""A text of tunes in ABC notation, taken apart into tunes."""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from aejax.music.abc_lengths import default_unit, unit_length

_FIELD = re.compile(r"([A-Za-z]):(.*)")


class AbcTune(NamedTuple):
    """A tune as it is written.

    Attributes:
        number: its X, as it is written.
        meter: its M, such as "C|"; empty where there is none.
        unit: its L, or what stands for it, in sixteenths.
        key: its K.
        body: the lines below its K.
    """

    number: str
    meter: str
    unit: Fraction
    key: str
    body: str


def tunes_of(text: str) -> Iterator[AbcTune]:
    """The tunes of a text, each from its X: to the next blank line after its K:."""
    for part in re.split(r"^(?=X:)", _without_mail_residue(text), flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        ends = [i for i, line in enumerate(lines) if line.startswith("K:")]
        if ends:
            yield _tune(lines[: ends[0] + 1], lines[ends[0] + 1 :])


def _tune(header: list[str], rest: list[str]) -> AbcTune:
    found = [field for line in header if (field := _FIELD.match(line))]
    fields = {field[1]: field[2].split("%")[0].strip() for field in found}
    blank = next((i for i, line in enumerate(rest) if not line), len(rest))
    meter = fields.get("M", "")
    unit = fields.get("L", "")
    return AbcTune(
        fields["X"],
        meter,
        unit_length(unit) or default_unit(meter),
        fields["K"],
        "\n".join(rest[:blank]),
    )


def _without_mail_residue(text: str) -> str:
    """Undoes what a mail program has left: a natural sign is never before a digit or a line end."""
    return text.replace("=\n", "").replace("=20", " ").replace("=3D", "=")

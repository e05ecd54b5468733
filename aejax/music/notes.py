"""What a melody is made of: notes in bars. Lengths are in sixteenths of a whole note."""

import dataclasses
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple


class Note(NamedTuple):
    """A note or a rest.

    Attributes:
        pitch: the MIDI pitch; None for a rest.
        length: in sixteenths.
        held: whether it goes on with the note before it, over a bar line.
    """

    pitch: int | None
    length: Fraction
    held: bool = False


@dataclasses.dataclass(frozen=True)
class Bar:
    """What stands between two bar lines.

    Attributes:
        notes: from the first to the last.
        full: the length that the meter asks for, in sixteenths; 0 without a meter.
        endings: the times that it is played at, of an ending in brackets; else empty.
        repeats: whether a sign to repeat follows.
        opened: whether the sign from which to repeat stands before it.
        closes: whether a double bar line follows.
    """

    notes: tuple[Note, ...]
    full: Fraction
    endings: tuple[int, ...] = ()
    repeats: bool = False
    opened: bool = False
    closes: bool = False

    @property
    def length(self) -> Fraction:
        """Of its notes, in sixteenths."""
        return sum((note.length for note in self.notes), Fraction(0))


def played(bars: list[Bar]) -> list[Bar]:
    """The bars in the order that they are played in, each repeat twice, endings at their time.

    A repeat goes back to the last sign from which to repeat; many tunes write none, and then it
    goes back to where the last repeat ended, to the last double bar line, or to the start.
    """
    order: list[Bar] = []
    part, time, index = 0, 1, 0
    signed = bars[0].opened if bars else False  # whether the part began with a sign
    while index < len(bars):
        bar = bars[index]
        index += 1
        following = bars[index].endings if index < len(bars) else ()
        opens = index < len(bars) and bars[index].opened
        if not bar.endings or time in bar.endings:
            order.append(bar)
            # An ending that another follows repeats with or without a sign.
            others = bool(bar.endings and following) and time not in following
            again = others or (bar.repeats and not (bar.endings and time > 1))
            if again and time <= max((1, *bar.endings, *following)):
                time, index = time + 1, part
                continue
        ends = bar.repeats or (bar.closes and (bool(bar.endings) or not signed))
        if opens or (ends and not following):
            part, time, signed = index, 1, opens
    return order


def in_bars(notes: Iterable[Note], full: int) -> list[Bar]:
    """Notes cut into bars of so many sixteenths; what goes over a bar line is held."""
    bars: list[list[Note]] = [[]]
    left = Fraction(full)
    for pitch, length, held in notes:
        while length > 0:
            if left == 0:
                bars.append([])
                left = Fraction(full)
            part = min(length, left)
            bars[-1].append(Note(pitch, part, held))
            length, left, held = length - part, left - part, True
    return [Bar(tuple(bar), Fraction(full)) for bar in bars if bar]

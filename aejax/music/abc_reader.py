"""Reads the melody of a tune in ABC notation (abcnotation.com, standard 2.1).

music21's own reader drops accidentals, dots and notes in a fifth of the old collections.
"""

import dataclasses
import re
from fractions import Fraction

from aejax.music.abc_book import AbcTune
from aejax.music.abc_keys import SEMITONES, key_signature
from aejax.music.abc_lengths import bar_length, factor, unit_length
from aejax.music.notes import Bar, Note

_LENGTH = r"\d*(?:/+\d*)*"
_NOTE = r"(?:\^{1,2}|_{1,2}|=)?[A-Ga-g][,']*"
_TIMES = r"\d[\d,.-]*"
_ELEMENT = re.compile(
    rf"""
      (?P<text>"[^"\n]*" | ![^!\s]*! | \{{[^}}\n]*\}} | y\d* )
    | \[(?P<letter>[A-Za-z]):(?P<value>[^]\n]*)\]
    | \[[ ]*(?P<ending>{_TIMES})
    | (?P<bar>:*(?:\[\||\|\]|\|)+:* | ::+)(?:[ ]*(?P<volta>{_TIMES}))?
    | \[(?P<chord>[^]\n|]*)\](?P<chord_length>{_LENGTH})
    | \((?P<tuplet>\d)(?::(?P<time>\d*))?(?::(?P<count>\d*))?
    | (?P<note>{_NOTE})(?P<length>{_LENGTH})
    | (?P<rest>[zxZX])(?P<rest_length>{_LENGTH})
    | (?P<broken>>+|<+)
    | (?P<tie>-)
    | (?P<line>\n)
    """,
    re.VERBOSE,
)  # what it does not name, such as slurs and marks above notes, says nothing of pitch or length
_BODY_FIELD = re.compile(r"([IKLMmNPQRrsTUVWw]):(?![|:])(.*)")
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def read_tune(tune: AbcTune) -> list[Bar]:
    """The bars of a tune in the order that they are written in.

    Of chords the highest note is taken, of several voices the first; grace notes are left out. An
    accidental is for its octave and lasts to the next written bar line, over line ends too. A line
    end at which the bar is full is a bar line.
    """
    reader = _Reader(tune.unit, bar_length(tune.meter), key_signature(tune.key))
    for line in tune.body.splitlines():
        if field := _BODY_FIELD.match(line):
            reader.field(*field.groups())
        else:
            for element in _ELEMENT.finditer(re.sub(r"(?<!\\)%.*", "", line) + "\n"):
                reader.read(element)
    reader.close()
    return reader.bars


@dataclasses.dataclass
class _Reader:
    """What is known between one element of the notation and the next."""

    unit: Fraction
    full: Fraction
    key: dict[str, int]
    bars: list[Bar] = dataclasses.field(default_factory=list)
    notes: list[Note] = dataclasses.field(default_factory=list)
    carried: dict[str, int] = dataclasses.field(default_factory=dict)
    endings: tuple[int, ...] = ()
    opened: bool = False
    broken: str = ""
    tied: tuple[str, int] | None = None  # the last note's place on the staff and pitch
    tuplet: tuple[int, Fraction] = (0, Fraction(1))  # notes left, factor of their lengths
    voice: str | None = None
    silent: bool = False  # in a voice other than the first
    last: tuple[str, int] = ("", 0)

    def read(self, element: re.Match[str]) -> None:
        """One element."""
        if letter := element["letter"]:
            self.field(letter, element["value"])
        if self.silent:
            return
        if element["bar"]:
            self.bar_line(element["bar"])
        if times := element["ending"] or element["volta"]:
            self.close()
            self.endings = _times(times)
        if element["line"] and self.full and sum(note.length for note in self.notes) == self.full:
            self.close()
        if element["tuplet"]:
            self.begin_tuplet(int(element["tuplet"]), element["time"], element["count"])
        self.tone(element)
        self.broken = element["broken"] or self.broken
        if element["tie"]:
            self.tied = self.last

    def tone(self, element: re.Match[str]) -> None:
        """A note, chord or rest, if the element is one."""
        if element["note"]:
            self.add(element["note"], factor(element["length"]))
        elif element["chord"] is not None:
            inside = re.findall(rf"({_NOTE})({_LENGTH})", element["chord"])
            if inside:
                top = max((note for note, _ in inside), key=self.pitch)
                self.add(top, factor(inside[0][1]) * factor(element["chord_length"]))
        elif element["rest"]:
            in_bars = element["rest"] in "ZX"
            length = factor(element["rest_length"]) * (self.full / self.unit if in_bars else 1)
            self.add(None, length)

    def field(self, letter: str, value: str) -> None:
        """K:, L:, M: or V: within the tune."""
        value = value.split("%")[0].strip()
        if letter == "K" and not value.startswith("clef"):
            self.key = key_signature(value)
        elif letter == "L":
            self.unit = unit_length(value) or self.unit
        elif letter == "M":
            self.full = bar_length(value)
        elif letter == "V":
            name = value.split()[0] if value else ""
            begun = bool(self.bars or self.notes)
            self.voice = self.voice or ("1" if begun else name)
            self.silent = name != self.voice

    def bar_line(self, line: str) -> None:
        """Closes the bar, or says more of the one that is closed."""
        self.close()
        self.carried = {}
        repeats, opens = line[0] == ":", line[-1] == ":"
        closes = any(mark in line for mark in ("||", "|]", "[|"))
        if self.bars:
            bar = self.bars[-1]
            self.bars[-1] = dataclasses.replace(
                bar,
                repeats=bar.repeats or repeats,
                closes=bar.closes or closes,
            )
        self.opened = self.opened or opens
        if repeats or opens or closes:
            self.endings = ()

    def close(self) -> None:
        """Ends the bar, if it has begun; ties within it make one note."""
        if not self.notes:
            return
        merged = self.notes[:1]
        for note in self.notes[1:]:
            if note.held:
                merged[-1] = merged[-1]._replace(length=merged[-1].length + note.length)
            else:
                merged.append(note)
        self.bars.append(Bar(tuple(merged), self.full, self.endings, opened=self.opened))
        self.notes, self.broken, self.opened = [], "", False

    def begin_tuplet(self, count: int, time: str | None, notes: str | None) -> None:
        """(p:q:r puts p notes into the time of q, for the next r (ABC 2.1, 4.13)."""
        compound = self.full.numerator % 3 == 0 and self.full > 0
        default = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}.get(count, 3 if compound else 2)
        self.tuplet = (int(notes or count), Fraction(int(time or default), max(1, count)))

    def add(self, written: str | None, units: Fraction) -> None:
        """A note, or a rest, of so many units."""
        length = self.unit * units
        left, in_time_of = self.tuplet
        if left:
            length, self.tuplet = length * in_time_of, (left - 1, in_time_of)
        if self.broken and self.notes:
            short = Fraction(1, 2 ** len(self.broken))
            before, after = (2 - short, short) if self.broken[0] == ">" else (short, 2 - short)
            self.notes[-1] = self.notes[-1]._replace(length=self.notes[-1].length * before)
            length *= after
        pitch = self.pitch(written) if written else None
        place = written.lstrip("^_=") if written else ""
        if pitch is not None and self.tied and self.tied[0] == place == written:
            pitch = self.tied[1]  # a tie carries an accidental over the bar line
        held = pitch is not None and self.tied is not None and self.tied[1] == pitch
        self.notes.append(Note(pitch, length, held))
        self.last, self.tied, self.broken = (place, pitch or 0), None, ""

    def pitch(self, written: str) -> int:
        """The MIDI pitch of a written note; its accidental lasts."""
        place = written.lstrip("^_=")
        if mark := written[: len(written) - len(place)]:
            self.carried[place] = SEMITONES[mark]
        letter = place[0].upper()
        octave = 60 + 12 * (place[0].islower() + place.count("'") - place.count(","))
        return octave + _STEPS[letter] + self.carried.get(place, self.key.get(letter, 0))


def _times(text: str) -> tuple[int, ...]:
    """The times of an ending: "1", "1,2", "1-3"."""
    times: list[int] = []
    for part in re.findall(r"\d+(?:-\d+)?", text):
        first, _, last = part.partition("-")
        times.extend(range(int(first), int(last or first) + 1))
    return tuple(times)

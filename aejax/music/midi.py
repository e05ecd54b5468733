"""Melodies in MIDI files, which mido reads and writes."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from aejax.music.notes import Note
from aejax.music.tokens import HIGHEST, LOWEST

_TICKS = 120  # a sixteenth
_DRUMS = 9  # their channel
_VELOCITY = 80


class MidiMelody(NamedTuple):
    """What `read_midi` finds.

    Attributes:
        notes: in whole sixteenths.
        meters: that the file names, such as "4/4".
    """

    notes: list[Note]
    meters: set[str]


class _Span(NamedTuple):
    start: int
    end: int
    pitch: int


def write_midi(path: str | Path, *voices: Iterable[Note], tempo: float = 120.0) -> None:
    """Writes a file with a track for each voice.

    Args:
        path: the file.
        voices: the notes of each, one after the other.
        tempo: quarters a minute.
    """
    import mido

    file = mido.MidiFile(type=1, ticks_per_beat=4 * _TICKS)
    for number, notes in enumerate(voices):
        track = file.add_track()
        if number == 0:
            track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
            track.append(mido.MetaMessage("time_signature", numerator=4, denominator=4))
        spans, end = _spans_of(notes)
        now = 0
        for start, stop, pitch in spans:
            sound = {"note": pitch, "channel": number % _DRUMS, "velocity": _VELOCITY}
            track.append(mido.Message("note_on", time=start - now, **sound))
            track.append(mido.Message("note_off", time=stop - start, **sound))
            now = stop
        track.append(mido.MetaMessage("end_of_track", time=end - now))
    file.save(path)


def _spans_of(notes: Iterable[Note]) -> tuple[list[_Span], int]:
    """When notes sound, in ticks; and the end of all."""
    spans: list[_Span] = []
    time = Fraction(0)
    for note in notes:
        start, time = time, time + note.length
        goes_on = note.held and spans and spans[-1].pitch == note.pitch
        if goes_on:
            spans[-1] = spans[-1]._replace(end=_nearest(_TICKS * time))
        elif note.pitch is not None:
            spans.append(_Span(_nearest(_TICKS * start), _nearest(_TICKS * time), note.pitch))
    return spans, _nearest(_TICKS * time)


def read_midi(path: str | Path) -> MidiMelody:
    """The melody of the first track with notes, of its first channel that is not of drums.

    Notes begin and end at the nearest sixteenth and last one at least. Of those that begin together
    the highest is taken, and it ends where the next begins. Notes that no piano has are left out.

    Raises:
        OSError, EOFError, ValueError, KeyError, IndexError: for a file that is damaged or no MIDI
            file, as mido does.
    """
    import mido

    file = mido.MidiFile(path, clip=True)
    if file.ticks_per_beat <= 0:
        raise ValueError("its times are no parts of a beat")
    step = Fraction(file.ticks_per_beat, 4)
    events = [message for track in file.tracks for message in track]
    signs = [message for message in events if message.type == "time_signature"]
    meters = {f"{sign.numerator}/{sign.denominator}" for sign in signs}
    for track in file.tracks:
        if spans := _spans_in(track):
            return MidiMelody(_melody(spans, sum(m.time for m in track), step), meters)
    return MidiMelody([], meters)


def _spans_in(track: Iterable[Any]) -> list[_Span]:
    """The notes of a track's first channel."""
    time, channel = 0, None
    begun: dict[int, int] = {}
    spans: list[_Span] = []
    for message in track:
        time += message.time
        if message.type not in ("note_on", "note_off") or message.channel == _DRUMS:
            continue
        if not LOWEST <= message.note <= HIGHEST:
            continue
        channel = message.channel if channel is None else channel
        if message.channel != channel:
            continue
        if message.note in begun:
            spans.append(_Span(begun.pop(message.note), time, message.note))
        if message.type == "note_on" and message.velocity > 0:
            begun[message.note] = time
    return spans + [_Span(start, time, pitch) for pitch, start in begun.items()]


def _melody(spans: list[_Span], end: int, step: Fraction) -> list[Note]:
    """One note at a time, with rests between, up to the end."""
    highest: dict[int, _Span] = {}
    for span in spans:
        onset = _nearest(span.start / step)
        if onset not in highest or span.pitch > highest[onset].pitch:
            highest[onset] = span
    onsets = sorted(highest)
    notes: list[Note] = []
    time = 0
    for onset, following in zip(onsets, [*onsets[1:], None], strict=True):
        until = max(onset + 1, _nearest(highest[onset].end / step))
        until = until if following is None else min(until, following)
        if onset > time:
            notes.append(Note(None, Fraction(onset - time)))
        notes.append(Note(highest[onset].pitch, Fraction(until - onset)))
        time = until
    rest = _nearest(end / step) - time
    return notes + ([Note(None, Fraction(rest))] if rest > 0 else [])


def _nearest(number: Fraction) -> int:
    return int(number + Fraction(1, 2))

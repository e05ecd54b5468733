"""One's own MIDI files, and their windows."""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from aejax.errors import UsageError
from aejax.music.melodies import Melody
from aejax.music.midi import read_midi
from aejax.music.notes import in_bars
from aejax.music.reading import in_processes
from aejax.music.windows import METERS, STEPS, Windows, tune_windows

_NAMED = 10  # files left out, of each reason


def midi_files(folder: Path) -> list[Path]:
    """The MIDI files in a folder and those within it, by name."""
    found = (file for file in folder.rglob("*") if file.suffix.lower() in (".mid", ".midi"))
    return sorted(file for file in found if file.is_file())


def read_midi_files(folder: Path, files: Sequence[Path], bars: int) -> list[Melody]:
    """The melodies of files that give windows; which give none, and why, is said.

    Args:
        folder: that the melodies' names begin in.
        files: in it.
        bars: of a window.

    Raises:
        UsageError: if no file gives a window, or mido is not installed.
    """
    if importlib.util.find_spec("mido") is None:
        raise UsageError("reading MIDI files needs mido: pip install 'aejax[music]'")
    arguments = [(path, path.relative_to(folder).as_posix(), bars) for path in files]
    melodies = list(in_processes(midi_melody, arguments, "reading MIDI files"))
    found = [melody for melody in melodies if melody.windows.found]
    left = list(_left_out(melodies))
    if not found:
        raise UsageError(
            f"no MIDI file in {folder} gives a window of {bars} bars: {'; '.join(left)}"
        )
    for line in left:
        print(f"left out: {line}", file=sys.stderr)
    windows = sum(len(melody.windows.found) for melody in found)
    print(f"{windows:,} windows from {len(found):,} of {len(files):,} files", file=sys.stderr)
    return found


def midi_melody(path: Path, name: str, bars: int) -> Melody:
    """The melody of one file; see `read_midi`. Bars are counted from the start of the file."""
    try:
        notes, meters = read_midi(path)
    except Exception:  # mido raises errors of any kind
        return Melody(name, [], Windows((), "not readable"))
    lengths = {"2/4": 2, "4/8": 2}
    if not meters <= set(METERS) or len({lengths.get(meter, 1) for meter in meters}) > 1:
        return Melody(name, [], Windows((), "in another meter"))
    pitches = [note.pitch for note in notes if note.pitch is not None]
    if not pitches:
        return Melody(name, [], Windows((), "without notes"))
    return Melody(name, pitches, tune_windows(in_bars(notes, STEPS), bars))


def _left_out(melodies: Sequence[Melody]) -> Iterator[str]:
    for reason in dict.fromkeys(m.windows.reason for m in melodies if m.windows.reason):
        names = [melody.name for melody in melodies if melody.windows.reason == reason]
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        yield f"{len(names):,} {reason} ({', '.join(names[:_NAMED])}{more})"

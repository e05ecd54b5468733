"""The tunes in ABC notation that music21 carries, and their windows."""

import importlib.util
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from aejax.errors import UsageError
from aejax.music.abc_book import tunes_of
from aejax.music.abc_reader import read_tune
from aejax.music.melodies import Melody, summary
from aejax.music.notes import played
from aejax.music.reading import in_processes
from aejax.music.windows import METERS, Windows, tune_windows

DANCES = ("ryansMammoth", "oneills1850", "airdsAirs")
ESSEN = "essenFolksong"  # for non-commercial use alone
_OTHER = "in another meter"


def corpus_folder(corpus: str) -> Path:
    """Where music21 keeps a corpus; music21 itself is not imported.

    Raises:
        UsageError: if music21 is not installed, or this version of it carries it no more.
    """
    found = importlib.util.find_spec("music21")
    if found is None or found.origin is None:
        raise UsageError("the tunes are music21's: pip install 'aejax[music]'")
    folder = Path(found.origin).parent / "corpus" / corpus
    if not folder.is_dir():
        raise UsageError(f"there is no {folder}: pip install 'music21>=9'")
    return folder


def corpus_files(corpora: Sequence[str]) -> list[Path]:
    """The files of tunes in some corpora, each corpus's by name."""
    return [path for corpus in corpora for path in sorted(corpus_folder(corpus).glob("*.abc"))]


def read_melodies(corpora: Sequence[str], bars: int) -> list[Melody]:
    """The tunes of some corpora in meters whose bars fill 16 sixteenths, with their windows.

    Several processes read them. What comes of each corpus, and why the rest is left out, is said.

    Args:
        corpora: such as `DANCES`.
        bars: of a window.
    """
    arguments = [
        (path.parent.name, path.stem, path.read_text("utf-8", "replace"), bars)
        for path in corpus_files(corpora)
    ]
    melodies = list(itertools.chain(*in_processes(melodies_of, arguments, "reading tunes")))
    for line in summary(melodies):
        print(line, file=sys.stderr)
    return [melody for melody in melodies if melody.windows.reason != _OTHER]


def melodies_of(corpus: str, file: str, text: str, bars: int) -> list[Melody]:
    """The tunes of one file."""
    return list(_melodies(corpus, file, text, bars))


def _melodies(corpus: str, file: str, text: str, bars: int) -> Iterator[Melody]:
    for tune in tunes_of(text):
        name = f"{corpus}/{file}#{tune.number}"
        if tune.meter not in METERS:
            yield Melody(name, [], Windows((), _OTHER))
            continue
        written = read_tune(tune)
        pitches = [n.pitch for bar in written for n in bar.notes if n.pitch is not None]
        yield Melody(name, pitches, tune_windows(played(written), bars))

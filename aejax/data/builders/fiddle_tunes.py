"""fiddle_tunes: windows of real fiddle tunes that music21 carries, as a TFDS data set.

Ryan's Mammoth Collection (Boston, 1883), 1,059 tunes in ABC notation, one melody each. A window is
32 sixteenth notes that begin on a bar line: two bars of 4/4 or cut time, four of 2/4. Grace notes
are left out, and of a chord the highest note is taken. Written repeats are not played out.

A window is 32 tokens, those of Magenta's melodies (Roberts et al. 2018, arXiv 1803.05428): at a
note's onset 2 to 89 for the MIDI pitches 21 to 108, at a rest's 1, and 0 while a note or a rest
goes on. A note that goes on over the window's first bar line begins there anew.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from aejax.errors import UsageError
from aejax.music.tokens import HOLD, NOTE_OFF, to_token

STEPS = 32
METERS = ("2/4", "4/4", "C", "C|")  # whose bars fill a window exactly
DANCES = ("reel", "hornpipe", "strathspey", "clog", "other")


class FiddleTunes(tfds.core.GeneratorBasedBuilder):
    """Of the tunes in these meters, by name, every fifth is a test tune; the label is the dance.

    A window that stands in a test tune too is left out of the training tunes.
    """

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "2.0.0": "Tokens of onsets, holds and rests.",
        "1.0.0": "Pitches as grey levels.",
    }

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Windows of 32 sixteenth notes of Ryan's Mammoth Collection (1883).",
            features=tfds.features.FeaturesDict(
                {
                    "x": tfds.features.Tensor(shape=(STEPS,), dtype=np.int32),
                    "label": tfds.features.ClassLabel(names=list(DANCES)),
                    "tune": tfds.features.Text(),
                }
            ),
            homepage="https://www.music21.org/music21docs/about/referenceCorpus.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        tunes = {path.stem: path.read_text("utf-8") for path in tune_files()}
        tunes = {name: text for name, text in tunes.items() if field(text, "M") in METERS}
        windows = {name: melody_windows(text) for name, text in tunes.items()}
        test = list(windows)[4::5]
        # Some tunes stand in the book under two names, or share a phrase.
        seen = {window.tobytes() for name in test for window in windows[name]}
        for name in windows.keys() - set(test):
            fresh = [window.tobytes() not in seen for window in windows[name]]
            windows[name] = windows[name][fresh]
        return {
            "train": self._generate_examples(tunes, windows, [n for n in tunes if n not in test]),
            "test": self._generate_examples(tunes, windows, test),
        }

    def _generate_examples(
        self, tunes: dict[str, str], windows: dict[str, np.ndarray], names: list[str]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in names:
            dance = field(tunes[name], "R").lower()
            label = DANCES.index(dance if dance in DANCES else "other")
            for index, window in enumerate(windows[name]):
                yield f"{name}-{index}", {"x": window, "label": label, "tune": name}


def tune_files() -> list[Path]:
    """The ABC files of the collection, by name.

    Raises:
        UsageError: if music21 is not installed.
    """
    try:
        import music21
    except ModuleNotFoundError as error:
        raise UsageError(
            f"preparing 'fiddle_tunes' needs {error.name}: pip install 'aejax[music]'"
        ) from error
    return sorted(Path(music21.__file__).parent.glob("corpus/ryansMammoth/*.abc"))


def field(abc: str, letter: str) -> str:
    """A field of the header of an ABC text, such as M, the meter; empty where there is none."""
    values = [line[2:] for line in abc.splitlines() if line.startswith(f"{letter}:")]
    return values[0].strip() if values else ""


def melody_windows(abc: str) -> np.ndarray:
    """The windows of a tune: its ABC text -> tokens int32 `[N, 32]`, in the order of the tune.

    A window begins at every bar line after which enough whole bars follow without a pickup between;
    one that has come before in the tune, or that holds a single pitch, is left out.
    """
    from music21 import converter

    score: Any = converter.parseData(abc, format="abc")
    bars = list(_bars(score.parts[0]))
    found: dict[bytes, np.ndarray] = {}
    for first, bar in enumerate(bars):
        count = 0 if bar is None else STEPS // len(bar[0])
        following = [b for b in bars[first : first + count] if b is not None]
        if count and len(following) == count:
            sounding, begins = np.concatenate(following, axis=1)
            begins[0] = True
            window = np.where(begins, sounding, HOLD)
            if len(set(window.tolist()) - {HOLD, NOTE_OFF}) > 1:
                found.setdefault(window.tobytes(), window)
    return np.stack(list(found.values())) if found else np.zeros((0, STEPS), np.int32)


def _bars(part: Any) -> Iterator[np.ndarray | None]:
    """Of each bar `[2, S]`: the token that sounds at every sixteenth, and whether it begins there.

    None for a bar that is not whole.
    """
    whole = part.recurse().getElementsByClass("TimeSignature")[0].barDuration.quarterLength
    sounding = NOTE_OFF
    for measure in part.getElementsByClass("Measure"):
        steps = int(4 * whole)
        bar = np.array([[sounding] * steps, [0] * steps], np.int32)
        for event in measure.notesAndRests:
            if event.duration.quarterLength == 0:  # a grace note
                continue
            token, onset = _token(event), int(np.ceil(4 * event.offset))
            goes_on = token == sounding and (event.isRest or _is_tied(event))
            sounding = token
            bar[0, onset:] = token
            bar[1, onset : onset + 1] = not goes_on
        yield bar if measure.duration.quarterLength == whole else None


def _token(event: Any) -> int:
    if event.isRest:
        return NOTE_OFF
    return to_token(max(pitch.midi for pitch in event.pitches))


def _is_tied(note: Any) -> bool:
    """Whether it goes on with the note before."""
    return note.tie is not None and note.tie.type in ("stop", "continue")

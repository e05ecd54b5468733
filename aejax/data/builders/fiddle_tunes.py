"""fiddle_tunes: windows of real fiddle tunes that music21 carries, as a TFDS data set.

Ryan's Mammoth Collection (Boston, 1883), 1,059 tunes in ABC notation, one melody each. A window is
32 sixteenth notes that begin on a bar line: two bars of 4/4 or cut time, four of 2/4. A step holds
the pitch that sounds as it begins; a rest holds the pitch before it; grace notes are left out, and
of a chord the highest note is taken. Written repeats are not played out.

The data set is shaped as images of 32 x 1 pixels, so that every part of the library takes it: time
is the height, and a pixel is 5 (p - 50) for the MIDI pitch p (60 is middle C; see `to_pitch`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from aejax.errors import UsageError

STEPS = 32
METERS = ("2/4", "4/4", "C", "C|")  # whose bars fill a window exactly
DANCES = ("reel", "hornpipe", "strathspey", "clog", "other")
# The tunes span 55 (a violin's lowest G) to 93, 25 to 215 in uint8.
PER_SEMITONE, LOWEST = 5, 50


def to_pitch(images: np.ndarray) -> np.ndarray:
    """Images `[N, 32, 1, 1]`, uint8 or in [0, 1] -> MIDI pitches `[N, 32]`, not rounded."""
    scale = 1 if images.dtype == np.uint8 else 255
    return images.reshape(len(images), -1) * np.float32(scale) / PER_SEMITONE + LOWEST


def from_pitch(pitches: np.ndarray) -> np.ndarray:
    """Whole MIDI pitches `[N, 32]` within 50 and 101 -> uint8 images `[N, 32, 1, 1]`."""
    if pitches.size and not (pitches.min() >= LOWEST and pitches.max() <= LOWEST + 51):
        raise ValueError(f"pitches {pitches.min()} to {pitches.max()} are not within 50 and 101")
    return (PER_SEMITONE * (pitches - LOWEST)).astype(np.uint8)[..., None, None]


class FiddleTunes(tfds.core.GeneratorBasedBuilder):
    """Of the tunes in these meters, by name, every fifth is a test tune; the label is the dance.

    A window that stands in a test tune too is left out of the training tunes.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Windows of 32 sixteenth notes of Ryan's Mammoth Collection (1883).",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(STEPS, 1, 1), dtype=np.uint8),
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
            for index, image in enumerate(from_pitch(windows[name])):
                yield f"{name}-{index}", {"image": image, "label": label, "tune": name}


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
    """The windows of a tune: its ABC text -> MIDI pitches `[N, 32]`, in the order of the tune.

    A window begins at every bar line after which enough whole bars follow without a pickup between;
    one that has come before in the tune, or that holds a single pitch, is left out.
    """
    from music21 import converter

    score: Any = converter.parseData(abc, format="abc")
    bars = list(_bars(score.parts[0]))
    found: dict[bytes, np.ndarray] = {}
    for first, bar in enumerate(bars):
        count = 0 if bar is None else STEPS // len(bar)
        following = [b for b in bars[first : first + count] if b is not None]
        if count and len(following) == count:
            window = np.concatenate(following)
            if np.ptp(window) > 0:
                found.setdefault(window.tobytes(), window)
    return np.stack(list(found.values())) if found else np.zeros((0, STEPS), np.int32)


def _bars(part: Any) -> Iterator[np.ndarray | None]:
    """The pitch at every sixteenth note of each bar; None for a bar that is not whole."""
    whole = part.recurse().getElementsByClass("TimeSignature")[0].barDuration.quarterLength
    held = None
    for measure in part.getElementsByClass("Measure"):
        notes = [  # (onset in sixteenths, pitch); a grace note takes no time
            (4 * note.offset, max(pitch.midi for pitch in note.pitches))
            for note in measure.notes
            if note.duration.quarterLength > 0
        ]
        if notes and held is None:
            held = notes[0][1]
        if measure.duration.quarterLength == whole and held is not None:
            pitches = np.full(int(4 * whole), held, np.int32)
            for onset, pitch in notes:
                pitches[int(np.ceil(onset)) :] = pitch
            yield pitches
        else:
            yield None
        held = notes[-1][1] if notes else held

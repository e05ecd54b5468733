"""chorales: four voices by a few of the scores, read by music21's own chords beside ours."""

import numpy as np
import pytest

from aejax import load_dataset
from aejax.music import chorales
from aejax.music.chorales import chorale, chords
from aejax.music.corpora import corpus_folder
from aejax.music.tokens import TOKENS, to_pitch

FILES = ("bwv101.7", "bwv102.7", "bwv103.6", "bwv1.6", "bwv10.7", "bwv104.6", "bwv11.6")


@pytest.fixture(scope="module")
def few_scores(tmp_path_factory):
    """A TFDS folder; bwv1.6 has horns and other parts, bwv11.6 is in 3/4."""
    pytest.importorskip("music21")
    folder = tmp_path_factory.mktemp("scores")
    for name in FILES:
        file = corpus_folder("bach") / f"{name}.mxl"
        (folder / file.name).write_bytes(file.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chorales, "corpus_folder", lambda corpus: folder)
        yield str(tmp_path_factory.mktemp("tfds"))


def test_four_voices_and_the_chords_beside_them(few_scores, capfd):
    data = load_dataset("chorales", "train+test", few_scores)
    said = capfd.readouterr().err
    assert "from 5 of 7 tunes; left out: 1 not of four parts, 1 without a whole bar" in said
    assert set(data) == {"x", "chord", "tune", "bar"}
    assert data["x"].shape == (len(data), 4, 32)
    assert data["x"].dtype == data["tune"].dtype == data["bar"].dtype == np.int32
    assert data["x"].max() < TOKENS
    assert data["chord"].shape == (len(data), 8, 12)
    assert data["chord"].dtype == np.float32
    np.testing.assert_array_equal(data["chord"], [chords(x) for x in data["x"]])
    assert set(data.names["tune"]) == {f"bach/{name}" for name in FILES} - {
        "bach/bwv1.6",
        "bach/bwv11.6",
    }
    train, test = (load_dataset("chorales", split, few_scores) for split in ("train", "test"))
    assert len(set(test["tune"])) == 1
    assert set(test["tune"]).isdisjoint(train["tune"])


def test_voices_and_chords_are_music21s_own(few_scores):
    from music21 import converter

    path = corpus_folder("bach") / "bwv10.7.mxl"  # which begins with a full bar
    score = converter.parse(path, forceSource=True, storePickle=False)
    window = chorale(path, 2).windows.found[0]
    assert window.bar == 0
    pitch = to_pitch(window.tokens)
    for voice, part in enumerate(score.parts):
        notes = part.flatten().notes.stream()
        heard = [notes.getElementAtOrBefore(step / 4).pitch.midi for step in range(32)]
        assert pitch[voice].tolist() == heard
    chordified = score.chordify().flatten().notes.stream()
    for beat, found in enumerate(chords(window.tokens)):
        classes = chordified.getElementAtOrBefore(beat).pitchClasses
        assert set(np.flatnonzero(found)) == set(classes)

"""melodies: what is opened, by a few of the books' own files."""

import importlib.util
import sys

import numpy as np
import pytest

import aejax
from aejax import load_dataset
from aejax.music import corpora
from aejax.music.melodies import in_one_key
from aejax.music.tokens import TOKENS, to_pitch

FILES = {"1556-1576", "1556-1624", "1577-1624", "AllTheWayToGalwayReel", "test1"}


@pytest.fixture(scope="module")
def few_tunes(tmp_path_factory):
    """A TFDS folder of data sets of few of the files, O'Neill's 1556 to 1624 twice."""
    pytest.importorskip("music21")
    whole = corpora.corpus_files

    def few(names):
        return [path for path in whole(names) if path.stem in FILES]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "corpus_files", few)
        yield str(tmp_path_factory.mktemp("tfds"))


def splits(name, folder):
    return [load_dataset(name, split, folder) for split in ("train", "test")]


@pytest.mark.parametrize(("name", "steps"), [("melodies", 32), ("melodies16", 256)])
def test_named_arrays_and_the_tunes_names(name, steps, few_tunes):
    train, test = splits(name, few_tunes)
    for data in (train, test):
        assert set(data) == {"x", "tune", "bar"}
        assert data["x"].shape == (len(data), steps)
        assert data["tune"].shape == data["bar"].shape == (len(data),)
        assert {values.dtype for _, values in data.items()} == {np.dtype(np.int32)}
        assert 0 <= data["x"].min() <= data["x"].max() < TOKENS
        assert not data.labelled
    assert train.names["tune"] == test.names["tune"]
    assert set(train["tune"]).isdisjoint(test["tune"])
    assert {train.names["tune"][t].split("/")[0] for t in train["tune"]} <= {
        "ryansMammoth",
        "oneills1850",
    }
    assert "tensorflow" not in sys.modules


def test_a_known_window_is_where_its_tune_has_it(few_tunes):
    """All the Way to Galway begins defd cAA2 | BGG2 cAA2 in G."""
    data = load_dataset("melodies", "train+test", few_tunes)
    tune = data.names["tune"].index("ryansMammoth/AllTheWayToGalwayReel#1")
    (row,) = np.flatnonzero((data["tune"] == tune) & (data["bar"] == 0))
    heard = [74, 76, 78, 74, 72, 69, 69, 69, 71, 67, 67, 67, 72, 69, 69, 69]
    assert to_pitch(data["x"][[row]])[0, ::2].tolist() == heard


def test_the_splits_share_no_window_in_any_key_and_are_the_same_again(few_tunes, tmp_path):
    train, test = splits("melodies", few_tunes)
    assert {in_one_key(x) for x in train["x"]}.isdisjoint({in_one_key(x) for x in test["x"]})
    again, _ = splits("melodies", str(tmp_path))
    np.testing.assert_array_equal(again["x"], train["x"])


def test_essen_comes_by_name_alone_and_its_licence_is_said(few_tunes, capsys):
    import tensorflow_datasets as tfds

    data = load_dataset("melodies_all", "train", few_tunes)
    assert {name.split("/")[0] for name in data.names["tune"]} == {
        "ryansMammoth",
        "oneills1850",
        "essenFolksong",
    }
    said = capsys.readouterr().err
    assert "essenFolksong: " in said
    assert "in another meter" in said
    described = [
        tfds.builder(name, data_dir=few_tunes).info.description
        for name in ("melodies", "melodies16", "melodies_all", "melodies16_all")
    ]
    assert ["NON-COMMERCIAL" in text for text in described] == [False, False, True, True]


def test_without_music21_it_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(aejax.UsageError, match=r"pip install 'aejax\[music\]'"):
        load_dataset("melodies", "train", str(tmp_path))


def test_music21_itself_is_not_imported():
    if importlib.util.find_spec("music21") is None:
        pytest.skip("needs music21")
    before = "music21" in sys.modules
    corpora.corpus_files(corpora.DANCES)
    assert ("music21" in sys.modules) == before

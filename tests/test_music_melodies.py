"""Variants of a tune are found, and stay on one side of the split."""

import itertools

import numpy as np
import pytest

from aejax.music.corpora import DANCES, ESSEN, corpus_files, melodies_of
from aejax.music.kinship import clusters, shingles
from aejax.music.melodies import Melody, for_testing, in_one_key, parted, summary
from aejax.music.windows import Window, Windows

TUNE = np.random.default_rng(0).integers(55, 90, 64)
OTHER = np.random.default_rng(1).integers(55, 90, 64)


def test_shingles_know_no_key_rhythm_or_repeated_notes():
    assert shingles([60, 62, 64, 65, 67, 69, 71]) == {(2, 2, 1, 2, 2, 2)}
    assert shingles(TUNE) == shingles(TUNE + 5) == shingles(np.repeat(TUNE, 2))
    assert shingles([60, 61]) == set()


def test_variants_are_of_one_cluster_and_others_are_not():
    half = np.concatenate([TUNE[:32], OTHER[:32]])
    found = clusters([TUNE, OTHER, TUNE + 3, TUNE[::-1], half, [60]])
    assert found[0] == found[2] == found[4] == found[1]  # half of each joins both
    assert len(set(found.tolist())) == 3
    found = clusters([TUNE, OTHER, np.concatenate([TUNE[:10], OTHER[10:]])])
    assert found[1] == found[2] != found[0]  # four shingles of some hundred are too few


def test_what_is_in_too_many_tunes_joins_none():
    rng = np.random.default_rng(2)
    begin = rng.integers(55, 90, 16)  # ten shingles
    tunes = [np.concatenate([begin, rng.integers(55, 90, 20)]) for _ in range(70)]
    assert len(set(clusters(tunes).tolist())) == 70
    assert len(set(clusters(tunes[:50]).tolist())) == 1


def test_a_tenth_is_for_testing_and_clusters_stay_whole():
    cluster = np.repeat(np.arange(300), np.arange(300) % 5 + 1)
    chosen = for_testing(cluster)
    assert 0.09 < chosen.mean() <= 0.1
    assert set(cluster[chosen]).isdisjoint(cluster[~chosen])
    np.testing.assert_array_equal(chosen, for_testing(cluster))
    assert not for_testing(np.zeros(50, int)).any()  # one cluster: nothing else is left


def test_a_window_in_one_key():
    tokens = np.array([41, 0, 1, 43], np.int32)
    assert in_one_key(tokens) == in_one_key(np.array([46, 0, 1, 48], np.int32))
    others = ([41, 0, 1, 44], [41, 0, 0, 43], [41, 1, 1, 43])
    assert all(in_one_key(tokens) != in_one_key(np.array(o, np.int32)) for o in others)


def test_windows_of_test_tunes_leave_training_in_every_key(capsys):
    rng = np.random.default_rng(3)
    tunes = [
        Melody(f"f/{i}", rng.integers(55, 90, 40).tolist(), Windows((Window(0, tokens),)))
        for i, tokens in enumerate(rng.integers(30, 60, (40, 32)).astype(np.int32))
    ]
    _, testing = parted(tunes)
    (heard,) = testing[0].windows.found
    tunes = [
        tune._replace(windows=Windows((*tune.windows.found, Window(1, heard.tokens + 2))))
        for tune in tunes
    ]
    training, testing = parted(tunes)
    assert len(testing) == 4
    assert [len(m.windows.found) for m in training] == [1] * 36
    assert "36 windows for training and 8 for testing" in capsys.readouterr().err


def test_what_is_said_of_a_corpus():
    windows = Windows((Window(0, np.zeros(32, np.int32)),) * 1500)
    melodies = [Melody("a/b#1", [], windows), Melody("a/b#2", [], Windows((), "too short"))]
    (line,) = summary(melodies)
    assert line == "a: 1,500 windows from 1 of 2 tunes; left out: 1 too short"


def read(files, bars=2):
    pytest.importorskip("music21")
    found = itertools.chain(
        *(melodies_of(p.parent.name, p.stem, p.read_text("utf-8", "replace"), bars) for p in files)
    )
    return [melody for melody in found if melody.pitches]


def leaks(training, testing, key):
    train = {key(w.tokens) for m in training for w in m.windows.found}
    return sum(key(w.tokens) in train for m in testing for w in m.windows.found)


def test_of_books_with_the_same_tunes_no_window_is_in_both_splits():
    """O'Neill's tunes 1556 to 1624 stand in two files."""
    names = {"1556-1576", "1556-1624", "1577-1624"}
    melodies = read([path for path in corpus_files(DANCES) if path.stem in names])
    training, testing = parted(melodies)
    numbers = [{m.name.split("#")[1] for m in part} for part in (training, testing)]
    assert len(numbers[1]) > 3
    assert numbers[0].isdisjoint(numbers[1])
    assert leaks(training, testing, in_one_key) == 0
    by_tune = melodies[::2], melodies[1::2]
    assert leaks(*by_tune, in_one_key) > 100


@pytest.mark.slow
def test_all_tunes_are_as_many_as_were_counted_and_no_window_leaks():
    """Counts of windows and clusters that another reader and another search have found."""
    melodies = read(corpus_files((*DANCES, ESSEN)))
    counts = dict.fromkeys((*DANCES, ESSEN), 0)
    for melody in melodies:
        counts[melody.name.split("/")[0]] += len(melody.windows.found)
    expected = dict(zip(counts, (7545, 10301, 9407, 36903), strict=True))
    assert counts == pytest.approx(expected, rel=0.003)
    sizes = np.bincount(clusters([m.pitches for m in melodies]))
    assert (sizes > 1).sum() == pytest.approx(855, rel=0.01)
    assert sizes[sizes > 1].sum() == pytest.approx(2650, rel=0.01)
    training, testing = parted(melodies)
    assert 0.09 < sum(len(m.windows.found) for m in testing) / sum(counts.values()) < 0.11
    assert leaks(training, testing, bytes) == leaks(training, testing, in_one_key) == 0

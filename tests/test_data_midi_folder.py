"""A folder of one's own MIDI files as a data set."""

from fractions import Fraction

import numpy as np
import pytest

from aejax import UsageError, load_dataset
from aejax.music.midi import write_midi
from aejax.music.notes import Note

mido = pytest.importorskip("mido")


def melody(seed, bars):
    """Quarters of random pitches."""
    pitches = np.random.default_rng(seed).integers(60, 80, 4 * bars)
    return [Note(int(pitch), Fraction(4)) for pitch in pitches]


def write(folder, bars, count=12):
    for seed in range(count):
        write_midi(folder / f"{seed}.mid", melody(seed, bars))


def waltz(path):
    write_midi(path, melody(0, 8))
    file = mido.MidiFile(path)
    for message in file.tracks[0]:
        if message.type == "time_signature":
            message.numerator = 3
    file.save(path)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tunes").mkdir()
    return tmp_path / "tunes"


def test_windows_of_two_bars_by_file_and_bar(folder):
    write(folder, bars=3)
    data = load_dataset(str(folder), "train+test")
    assert set(data) == {"x", "tune", "bar"}
    assert data["x"].shape == (24, 32)
    assert {values.dtype for _, values in data.items()} == {np.dtype(np.int32)}
    for x, tune, bar in zip(data["x"], data["tune"], data["bar"], strict=True):
        notes = melody(int(data.names["tune"][tune].removesuffix(".mid")), 3)[4 * bar :][:8]
        assert x[::4].tolist() == [note.pitch - 19 for note in notes]
        assert np.count_nonzero(x) == 8
    train, test = (load_dataset(str(folder), split) for split in ("train", "test"))
    assert (len(train), len(test)) == (22, 2)
    assert set(train["tune"]).isdisjoint(test["tune"])


def test_so_many_bars_as_are_asked_for(folder):
    write(folder, bars=17)
    assert load_dataset(f"{folder}:16", "train+test")["x"].shape == (24, 256)
    assert load_dataset(f"{folder}:1", "train")["x"].shape[1] == 16


def test_a_variant_of_a_test_tune_is_on_its_side(folder):
    write(folder, bars=8, count=20)
    for seed in range(20):
        higher = [Note(note.pitch + 3, Fraction(8)) for note in melody(seed, 8)]
        write_midi(folder / f"{seed}b.mid", higher)
    train, test = (load_dataset(str(folder), split) for split in ("train", "test"))
    seeds = [
        {data.names["tune"][t].removesuffix(".mid").rstrip("b") for t in data["tune"]}
        for data in (train, test)
    ]
    assert seeds[0].isdisjoint(seeds[1])
    assert len(seeds[1]) == 2


def test_what_cannot_be_used_is_counted_and_named_once(folder, capsys):
    write(folder, bars=3, count=8)
    (folder / "broken.mid").write_bytes(b"MThd and nothing more")
    (folder / "empty.MID").write_bytes(b"")
    (folder / "notes.txt").write_text("no MIDI file")
    waltz(folder / "waltz.midi")
    write_midi(folder / "short.mid", melody(0, 1))
    write_midi(folder / "silent.mid", [Note(None, Fraction(64))])
    load_dataset(str(folder), "train")
    said = capsys.readouterr().err
    assert "left out: 2 not readable (broken.mid, empty.MID)\n" in said
    assert "left out: 1 in another meter (waltz.midi)\n" in said
    assert "left out: 1 too short (short.mid)\n" in said
    assert "left out: 1 without notes (silent.mid)\n" in said
    assert "16 windows from 8 of 13 files\n" in said
    load_dataset(str(folder), "test")
    assert "left out" not in capsys.readouterr().err  # the files are not read again
    write_midi(folder / "more.mid", melody(100, 3))
    assert len(load_dataset(str(folder), "train+test")) == 18


def test_what_gives_nothing_is_one_line(folder):
    with pytest.raises(UsageError, match="holds no images: .*, or MIDI files$"):
        load_dataset(str(folder), "train")
    with pytest.raises(UsageError, match="holds no MIDI files"):
        load_dataset(f"{folder}:2", "train")
    waltz(folder / "waltz.mid")
    with pytest.raises(UsageError, match=r"window of 2 bars: 1 in another meter \(waltz.mid\)$"):
        load_dataset(str(folder), "train")
    (folder / "waltz.mid").unlink()
    write(folder, bars=3, count=2)
    with pytest.raises(UsageError, match=r"window of 16 bars: 2 too short \(0.mid, 1.mid\)$"):
        load_dataset(f"{folder}:16", "train")
    with pytest.raises(UsageError, match="windows of 0 bars: give 1 or more"):
        load_dataset(f"{folder}:0", "train")

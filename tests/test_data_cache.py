import json
import os

import numpy as np
import pytest

from aejax.data.cache import build_cache, cache_directory, open_cached


@pytest.fixture
def cache(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    labels = np.arange(50, dtype=np.int32) % 4

    def build():
        chunks = ((images[i : i + 20], labels[i : i + 20]) for i in range(0, 50, 20))
        build_cache(tmp_path / "set", 50, (6, 5, 3), ("a", "b", "c", "d"), chunks)

    build()
    return tmp_path / "set", images, labels, build


def test_what_was_written_is_read_and_stays_on_disk(cache):
    directory, images, labels, _ = cache
    dataset = open_cached(directory, "set")
    np.testing.assert_array_equal(dataset["x"], images)
    np.testing.assert_array_equal(dataset.labels, labels)
    assert dataset.label_names == ("a", "b", "c", "d")
    assert isinstance(dataset["x"], np.memmap)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def zero_second_half(path):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))


@pytest.mark.parametrize("damage", [truncate, zero_second_half, os.remove])
@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "manifest.json"])
def test_a_damaged_cache_is_noticed_and_can_be_rebuilt(cache, damage, name, capsys):
    directory, images, _, build = cache
    damage(directory / name)
    assert open_cached(directory, "set") is None
    assert "rebuilding the damaged cache" in capsys.readouterr().err
    build()
    np.testing.assert_array_equal(open_cached(directory, "set")["x"], images)


@pytest.mark.parametrize("manifest", ["{}", "[]", '{"files": 3}', '{"files": {}}'])
def test_a_manifest_of_the_wrong_form_is_damage(cache, manifest):
    directory, *_ = cache
    (directory / "manifest.json").write_text(manifest)
    assert open_cached(directory, "set") is None


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def chunks():
        yield np.zeros((5, 2, 2, 1), np.uint8), np.zeros(5, np.int32)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_cache(tmp_path / "set", 10, (2, 2, 1), (), chunks())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_is_removed(tmp_path):
    abandoned = tmp_path / "set.partial-999999999"
    abandoned.mkdir()
    chunks = iter([(np.zeros((3, 2, 2, 1), np.uint8), np.zeros(3, np.int32))])
    build_cache(tmp_path / "set", 3, (2, 2, 1), (), chunks)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert json.loads((tmp_path / "set" / "manifest.json").read_text())["label_names"] == []


def test_cache_directory_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AEJAX_CACHE_DIR", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"
    monkeypatch.delenv("AEJAX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "aejax"

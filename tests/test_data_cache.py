"""The cache: what it refuses, and what faults and other processes do to it."""

import multiprocessing
import os
import resource
import signal
import time

import numpy as np
import pytest

from aejax import UsageError, load_dataset
from aejax.data import cache as cache_module
from aejax.data.cache import Content, build_cache, cache_directory, open_cached

X = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
LABEL = np.arange(50, dtype=np.int32) % 4


def content(pause=0.0):
    def chunks():
        for i in range(0, 50, 20):
            yield {"x": X[i : i + 20], "label": LABEL[i : i + 20]}
            time.sleep(pause)

    return Content(50, chunks(), {"label": ("a", "b", "c", "d")})


@pytest.fixture
def cache(tmp_path):
    build_cache(tmp_path / "set", content())
    return tmp_path / "set"


@pytest.fixture
def as_another_process(monkeypatch):
    """Forgets which caches were checked, as a process that starts does."""
    monkeypatch.setattr(cache_module, "_whole", set())


def contents(directory):
    return sorted(path.name for path in directory.iterdir() if path.suffix != ".lock")


def test_what_was_written_is_read_and_stays_on_disk(cache):
    dataset = open_cached(cache)
    np.testing.assert_array_equal(dataset["x"], X)
    np.testing.assert_array_equal(dataset["label"], LABEL)
    assert dataset.label_names == ("a", "b", "c", "d")
    assert all(isinstance(values, np.memmap) for _, values in dataset.items())
    np.testing.assert_array_equal(np.load(cache / "x.npy"), X)


def test_what_is_there_is_not_built_again(cache):
    def fail():
        raise AssertionError("decoded again")
        yield

    dataset = build_cache(cache, Content(50, fail(), {}))
    np.testing.assert_array_equal(dataset["x"], X)


@pytest.mark.parametrize("name", ["x.npy", "label.npy", "manifest.json"])
def test_every_flipped_bit_is_noticed(cache, name, as_another_process, capsys):
    original = (cache / name).read_bytes()
    for place in range(0, len(original), max(1, len(original) // 60)):
        flipped = bytearray(original)
        flipped[place] ^= 1 << place % 8
        (cache / name).write_bytes(flipped)
        assert open_cached(cache) is None, place
    np.testing.assert_array_equal(build_cache(cache, content())["x"], X)
    assert "building the damaged cache" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.npy", "label.npy", "manifest.json"])
@pytest.mark.parametrize("damage", [os.remove, lambda path: os.truncate(path, 20)])
def test_a_file_that_is_gone_or_cut_is_noticed_at_every_opening(cache, name, damage):
    assert open_cached(cache) is not None
    damage(cache / name)
    assert open_cached(cache) is None
    np.testing.assert_array_equal(build_cache(cache, content())["x"], X)


def test_a_manifest_cannot_name_files_elsewhere(cache, tmp_path):
    np.save(tmp_path / "elsewhere.npy", X)
    text = (cache / "manifest.json").read_text().partition(" ")[2]
    text = text.replace('"x"', '"../elsewhere"')
    crc = cache_module.zlib.crc32(text.encode())
    (cache / "manifest.json").write_text(f"{crc} {text}")
    assert open_cached(cache) is None


def test_a_name_with_a_slash_is_a_file_name(tmp_path):
    chunks = [{"x": X, "a/b": LABEL}]
    dataset = build_cache(tmp_path / "set", Content(50, chunks, {}))
    np.testing.assert_array_equal(dataset["a/b"], LABEL)
    assert contents(tmp_path / "set") == ["a%2Fb.npy", "manifest.json", "x.npy"]


@pytest.mark.parametrize(
    "chunks",
    [
        [{"x": X[:20]}],
        [{"x": X}, {"x": X}],
        [{"x": X[:20]}, {"x": X[20:].astype(np.int32)}],
        [{"x": X[:20]}, {"x": X[20:, :3]}],
    ],
)
def test_chunks_that_do_not_make_the_whole_leave_nothing(tmp_path, chunks):
    with pytest.raises(ValueError, match="rows fewer than|after uint8"):
        build_cache(tmp_path / "set", Content(50, chunks, {}))
    assert contents(tmp_path) == []


def limited(build, *arguments):
    """The error of what is built where no file may be larger than 1,000 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        build(*arguments)
    except UsageError as error:
        return str(error)


def load(directory, file):
    os.environ["AEJAX_CACHE_DIR"] = str(directory)
    load_dataset(str(file), "train")


def build(directory, pause, barrier=None):
    if barrier is not None:
        barrier.wait()
    dataset = build_cache(directory, content(pause))
    return np.array_equal(dataset["x"], X) and np.array_equal(dataset["label"], LABEL)


@pytest.fixture(scope="module")
def processes():
    """Four processes that have imported what they need and do what they are told."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["aejax.data.sources.tfds"])
    return context


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, processes):
    cache, file = tmp_path / "cache", tmp_path / "x.npz"
    np.savez_compressed(file, x=X)  # which is unpacked beside the cache
    with processes.Pool(1) as pool:
        messages = [
            pool.apply(limited, (build, cache / "set", 0)),
            pool.apply(limited, (load, cache, file)),
        ]
    for message in messages:
        assert message.startswith(f"the cache in {cache} cannot be written (File too large)")
        assert "AEJAX_CACHE_DIR" in message
        assert "\n" not in message
    assert contents(cache) == []


def test_processes_that_build_at_once_all_have_it(tmp_path, processes):
    with processes.Manager() as manager, processes.Pool(4) as pool:
        barrier = manager.Barrier(4)
        for i in range(5):
            tasks = [(tmp_path / f"set{i}", 0.001, barrier)] * 4
            assert all(pool.starmap(build, tasks, chunksize=1))
    assert contents(tmp_path) == sorted(f"set{i}" for i in range(5))


def test_a_killed_build_is_cleared_by_the_next(tmp_path, processes):
    process = processes.Process(target=build, args=(tmp_path / "set", 60))
    process.start()
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob("set.partial-*/x.npy")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(contents(tmp_path)) == 1
    assert open_cached(tmp_path / "set") is None
    assert build(tmp_path / "set", 0)
    assert contents(tmp_path) == ["set"]


def test_a_build_waits_for_the_one_that_holds_the_lock(tmp_path, processes):
    """Another's partial build is not cleared while it lives, whatever its process number is."""
    process = processes.Process(target=build, args=(tmp_path / "set", 0.3))
    process.start()
    while not any(tmp_path.glob("set.partial-*")):
        time.sleep(0.01)
    assert build(tmp_path / "set", 0)
    process.join()
    assert process.exitcode == 0
    assert contents(tmp_path) == ["set"]


def test_a_cache_that_cannot_be_written_names_the_cure(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written .*AEJAX_CACHE_DIR"):
        build_cache(tmp_path / "file" / "set", content())


def test_cache_directory_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AEJAX_CACHE_DIR", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"
    monkeypatch.delenv("AEJAX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "aejax"

"""Any source: splits, the cache's key, labels, and input that is refused in one line."""

import os

import numpy as np
import pytest
from PIL import Image

from aejax import UsageError, load_dataset

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 4, 5), dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("AEJAX_CACHE_DIR", str(tmp_path / "cache"))


def cached(tmp_path):
    return [p.name for p in (tmp_path / "cache").glob("*") if p.suffix != ".lock"]


@pytest.fixture
def decoded(capsys):
    """How often something was decoded since the last call."""
    return lambda: capsys.readouterr().err.count("decoding")


def test_a_folder_of_classes(tmp_path):
    for i, image in enumerate(GREY):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / "pictures" / "notes.txt").write_text("no image")
    data = load_dataset("./pictures", "train+test")
    assert data.names["label"] == ("a", "b")
    assert sorted(row.tobytes() for row in data["x"]) == sorted(row.tobytes() for row in GREY)
    places = {image.tobytes(): i for i, image in enumerate(GREY)}
    assert [places[row.tobytes()] % 2 for row in data["x"]] == data["label"].tolist()


def test_a_folder_with_splits_and_colours(tmp_path):
    for split, value in (("train", 10), ("test", 200)):
        (tmp_path / "p" / split).mkdir(parents=True)
        Image.new("RGB", (6, 4), (value, 0, 1)).save(tmp_path / "p" / split / "a.png")
        Image.new("L", (6, 4), value).save(tmp_path / "p" / split / "b.png")
    for split, value in (("train", 10), ("test", 200)):
        data = load_dataset(str(tmp_path / "p"), split)
        assert list(data.keys()) == ["x"]
        assert data["x"].shape == (2, 4, 6, 3)
        assert data["x"][:, 0, 0].tolist() == [[value, 0, 1], [value] * 3]


def test_crop_and_size_against_pillow_alone(tmp_path):
    (tmp_path / "p").mkdir()
    image = Image.fromarray(RNG.integers(0, 256, (30, 51, 3), dtype=np.uint8))
    for i in range(2):
        image.save(tmp_path / "p" / f"{i}.bmp")
    expected = image.crop((10, 0, 40, 30)).resize((8, 8), Image.Resampling.LANCZOS)
    data = load_dataset("./p", "train", crop=True, size=8)
    np.testing.assert_array_equal(data["x"][0], np.asarray(expected))


def test_a_jpeg_lies_as_its_camera_says(tmp_path):
    (tmp_path / "p").mkdir()
    picture = Image.new("L", (16, 8), 0)
    picture.paste(255, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees, clockwise
    for i in range(2):
        picture.save(tmp_path / "p" / f"{i}.jpg", exif=exif, quality=95)
    data = load_dataset("./p", "train")
    assert data["x"].shape == (1, 16, 8, 1)  # the other is the test image
    assert data["x"][0, :8].mean() > 250
    assert data["x"][0, 8:].mean() < 5


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("x", "y"), [("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}/image", "{}/label")]
)
def test_a_file_of_named_arrays(tmp_path, save, x, y):
    """As Keras, MedMNIST and others name them; in Fortran's order too."""
    arrays = {}
    for split, rows in (("train", slice(15)), ("test", slice(15, 20))):
        arrays[x.format(split)] = np.asfortranarray(GREY[rows])
        arrays[y.format(split)] = np.arange(20)[rows, None] % 3
    save(tmp_path / "a.npz", **arrays)
    train, test = load_dataset("a.npz", "train"), load_dataset("a.npz", "test")
    np.testing.assert_array_equal(np.concatenate([train["x"], test["x"]])[..., 0], GREY)
    np.testing.assert_array_equal(train["label"], np.arange(15) % 3)
    assert train["label"].dtype == np.int32


def test_a_file_of_one_array_becomes_float32():
    vectors = RNG.normal(size=(3000, 7))
    np.save("v.npy", vectors)
    data = load_dataset("v.npy", "train+test")
    assert data["x"].dtype == np.float32
    order = np.argsort(data["x"][:, 0])
    np.testing.assert_array_equal(data["x"][order], vectors[np.argsort(vectors[:, 0])].astype("f"))


def test_without_a_test_split_a_tenth_is_held_out(capsys):
    np.savez("a.npz", x=np.arange(200, dtype=np.int32)[:, None], y=np.repeat([0, 1], 100))
    train, test = load_dataset("a.npz", "train"), load_dataset("a.npz", "test")
    assert "test is a tenth, drawn at random, of its train split" in capsys.readouterr().err
    assert (len(train), len(test)) == (180, 20)
    assert sorted(np.concatenate([train["x"], test["x"]]).ravel().tolist()) == list(range(200))
    assert 5 <= test["label"].sum() <= 15  # drawn: the data is sorted by class
    np.testing.assert_array_equal(train["x"][:, 0] >= 100, train["label"])


def test_a_validation_split_stands_in_for_test(capsys):
    np.savez("a.npz", x_train=GREY, x_val=GREY[:3])
    assert len(load_dataset("a.npz", "train")) == 20
    np.testing.assert_array_equal(load_dataset("a.npz", "test")["x"][..., 0], GREY[:3])
    assert "test is all of its val split" in capsys.readouterr().err


def test_expressions_are_tfdss_for_every_source():
    x = np.arange(1000, dtype=np.int32)[:, None]
    np.savez("a.npz", x_train=x[:900], x_test=x[900:])
    expressions = {
        "train[:10]": range(10),
        "train[-5:]": range(895, 900),
        "train[:10%]+test[50%:]": [*range(90), *range(950, 1000)],
        "test + train[:1]": [*range(900, 1000), 0],
        "all": range(1000),
    }
    for expression, expected in expressions.items():
        assert load_dataset("a.npz", expression)["x"].ravel().tolist() == list(expected)


def test_the_key_is_the_source_and_not_its_place(tmp_path, decoded):
    np.savez("a.npz", x_train=GREY, x_test=GREY)
    first = load_dataset("a.npz", "train")
    load_dataset(str(tmp_path / "a.npz"), "train")
    (tmp_path / ("d" * 200)).mkdir()
    os.rename("a.npz", tmp_path / ("d" * 200) / "a.npz")
    again = load_dataset(f"./{'d' * 200}/../{'d' * 200}/a.npz", "train")
    np.testing.assert_array_equal(first["x"], again["x"])
    assert (first.name, again.name[:3]) == ("a.npz", "./d")
    assert decoded() == 1
    load_dataset(f"{'d' * 200}/a.npz", "train", size=4, crop=True)
    assert decoded() == 1


def test_other_content_of_the_same_size_is_decoded_anew(decoded):
    for value in (0, 128):
        np.save("a.npy", np.full((20, 4), value, np.uint8))
        assert set(load_dataset("a.npy", "train")["x"].ravel().tolist()) == {value}
    assert decoded() == 2


def test_labels_that_are_hidden_are_none(tmp_path, capsys):
    np.savez("a.npz", x_train=GREY, y_train=np.arange(20), x_test=GREY, y_test=np.full(20, -1))
    assert load_dataset("a.npz", "train").labelled
    for _ in range(2):
        test = load_dataset("a.npz", "test")
        assert "label" not in test
        assert not test.labelled
        assert "a.npz test: all labels are negative, so it has none\n" in capsys.readouterr().err


def ragged():
    rows = np.empty(2, object)
    rows[:] = [np.zeros(3), np.zeros(4)]
    return rows


def nan_at(place):
    x = np.zeros((30, 3))
    x[place] = np.nan
    return x


def png(path, shape=(4, 5), dtype=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(shape, dtype)).save(path)


def cut(path, size):
    png(path, (64, 64))
    os.truncate(path, size)


BAD_ARRAYS = {
    "no numbers of one shape": {"x": ragged()},
    "could be x: name one with --x; it has x (no numbers": {"x": np.array(["a", "b"])},
    "a.npz, row 7: x holds what is not finite as float32": {"x": nan_at((7, 1))},
    "not finite as float32: mend or remove it": {"x": np.full((20, 2), 1e300)},
    "x holds 1099511627776, beyond int32": {"x": np.full((20, 2), 2**40)},
    "arrays of train differ in length ({'x': 3, 'y': 2})": {"x": np.zeros((3, 2)), "y": [1, 2]},
    "a.npz has no y for test: add it": {"x_train": GREY, "y_train": range(20), "x_test": GREY},
    "split 'train+test' of data set 'a.npz' is empty": {"x": np.zeros((0, 3))},
    "holds no arrays [N, ...]": {"x": np.float32(1)},
    "several features that could be x": {"a": GREY, "b": GREY},
    "a negative label": {"x": GREY, "y": np.arange(20) - 1},
    "is float32 [3]": {"x": np.zeros((20, 3), np.float32), "crop": True},
    "of 5 x 4 pixels, is not square: add --crop": {"x": GREY, "size": 8},
    "--size 0 is not positive": {"x": GREY, "size": 0},
}


@pytest.mark.parametrize("message", BAD_ARRAYS)
def test_bad_arrays_are_one_line_and_nothing_is_kept(message, tmp_path):
    arrays = dict(BAD_ARRAYS[message])
    options = {key: arrays.pop(key) for key in ("crop", "size") if key in arrays}
    np.savez("a.npz", **arrays)
    with pytest.raises(UsageError) as error:
        load_dataset("a.npz", "train+test", **options)
    assert message in str(error.value)
    assert "a.npz" in str(error.value) or "size" in options
    assert "\n" not in str(error.value)
    assert cached(tmp_path) == []


BAD_FILES = {
    "z.png: image is [5, 4, 1] where others are [4, 5, 1]": lambda p: png(p / "z.png", (5, 4)),
    "z.png cannot be read": lambda p: (p / "z.png").write_text("no image"),
    "y.png cannot be read": lambda p: cut(p / "y.png", 60),
    "z.png has more than 8 bits a value": lambda p: png(p / "z.png", dtype=np.uint16),
    "folder 'p' holds train beside car": lambda p: (png(p / "train/a.png"), png(p / "car/a.png")),
    "a.png lies beside the classes' folders": lambda p: png(p / "c" / "z.png"),
}


@pytest.mark.parametrize("message", BAD_FILES)
def test_bad_images_are_one_line_and_nothing_is_kept(message, tmp_path):
    for letter in "abcdefghi":
        png(tmp_path / "p" / f"{letter}.png")
    BAD_FILES[message](tmp_path / "p")
    with pytest.raises(UsageError) as error:
        load_dataset("./p", "train+test")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert cached(tmp_path) == []


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_is_one_line(save, tmp_path):
    save("a.npz", x=RNG.integers(0, 256, (200, 50), dtype=np.uint8))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    for broken in (data[: len(data) // 2], data[:3000] + b"\x00\x01\x02" + data[3003:]):
        (tmp_path / "a.npz").write_bytes(broken)
        with pytest.raises(UsageError, match="a.npz cannot be read") as error:
            load_dataset("a.npz", "train")
        assert "\n" not in str(error.value)
    assert cached(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "there is no folder './nowhere'"),
        ("./nothing.npz", "there is no file './nothing.npz'"),
        ("empty", "no TFDS data set 'empty': write ./empty for the folder"),
        ("./empty", "folder 'empty' holds no images: give some of bmp, gif"),
    ],
)
def test_what_is_not_there_is_one_line(name, message, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        load_dataset(name, "train")


def test_memory_stays_bounded_while_large_data_is_decoded(tmp_path):
    """Of 64 MB of float64, in an archive, no more than a chunk is held at a time."""
    import tracemalloc

    np.savez_compressed("a.npz", x=np.zeros((8_000, 1000)))
    tracemalloc.start()
    data = load_dataset("a.npz", "train+test")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data["x"].shape == (8_000, 1000)
    assert peak < 40e6

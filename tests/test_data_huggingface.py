"""What Hugging Face's `datasets` saves and opens."""

import sys

import numpy as np
import pytest

from aejax import UsageError, load_dataset

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 6, 5), dtype=np.uint8)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The package; it keeps what it makes in a folder of its own."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("huggingface"))
    yield datasets
    patch.undo()


@pytest.fixture
def made(hub):
    features = {
        "image": hub.Image(),
        "label": hub.ClassLabel(names=["odd", "even"]),
        "caption": hub.Value("string"),
        "vector": hub.Sequence(hub.Value("float64"), length=3),
        "tokens": hub.Sequence(hub.Value("int64")),
        "depth": hub.Array2D((2, 2), "int32"),
    }
    columns = {
        "image": list(PIXELS),
        "label": [i % 2 for i in range(20)],
        "caption": ["words"] * 20,
        "vector": [[i, 0.5, 0.25] for i in range(20)],
        "tokens": [[i] * (4 if i < 19 else 5) for i in range(20)],
        "depth": [[[i, 1], [2, 3]] for i in range(20)],
    }
    return hub.Dataset.from_dict(columns, hub.Features(features))


def test_a_saved_data_set(made):
    made.save_to_disk("saved")
    data = load_dataset("./saved", "train[:5]+test", conditions=("vector", "depth"))
    rows = data["vector"][:, 0].astype(int)
    assert {k: (v.dtype.name, v.shape[1:]) for k, v in data.items()} == {
        "x": ("uint8", (6, 5, 1)),
        "label": ("int32", ()),
        "vector": ("float32", (3,)),
        "depth": ("int32", (2, 2)),
    }
    np.testing.assert_array_equal(data["x"][..., 0], PIXELS[rows])
    np.testing.assert_array_equal(data["label"], rows % 2)
    np.testing.assert_array_equal(data["depth"][:, 0, 0], rows)
    assert data.names == {"label": ("odd", "even")}


def test_saved_splits_that_are_saved_anew(hub, made, tmp_path):
    splits = hub.DatasetDict({"train": made, "test": made.select(range(3))})
    splits.save_to_disk(tmp_path / "saved")
    assert len(load_dataset(str(tmp_path / "saved"), "train")) == 20
    assert load_dataset(str(tmp_path / "saved"), "test", x="vector")["x"].shape == (3, 3)
    hub.DatasetDict({"train": made, "test": made.select([7])}).save_to_disk(tmp_path / "saved")
    test = load_dataset(str(tmp_path / "saved"), "test")
    np.testing.assert_array_equal(test["x"][0, ..., 0], PIXELS[7])


def test_a_name_that_datasets_finds(made, tmp_path, capsys):
    made.to_parquet(tmp_path / "repository" / "train.parquet")
    for _ in range(2):
        data = load_dataset(f"hf:{tmp_path / 'repository'}", "train")
        assert data["x"].shape == (18, 6, 5, 1)
    assert capsys.readouterr().err.count("decoding") == 1


def test_what_is_wrong_is_one_line(hub, made, tmp_path):
    made.save_to_disk("saved")
    with pytest.raises(UsageError, match=r"record 19 of train: tokens is \[5\] where others"):
        load_dataset("./saved", "train+test", x="tokens")
    with pytest.raises(UsageError, match=r"no numbers called 'caption': it has image \(uint8 \["):
        load_dataset("./saved", "train", x="caption")
    hub.Dataset.from_dict({"x": [[1], [2]], "label": [0, None]}).save_to_disk("null")
    with pytest.raises(UsageError, match=r"record 1 of train: label holds what is not finite"):
        load_dataset("./null", "train+test")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"damaged")
    with pytest.raises(UsageError, match="./saved cannot be read") as error:
        load_dataset("./saved", "train")
    assert "\n" not in str(error.value)


def test_without_the_package_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"need datasets: pip install 'aejax\[hf\]'"):
        load_dataset("hf:mnist", "train")

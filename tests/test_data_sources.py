import chex
import jax
import numpy as np
import pytest

from aejax.data import stream as stream_module
from aejax.data.dataset import Dataset
from aejax.data.resident import gather_batch
from aejax.data.stream import Stream
from aejax.training.compiled import epoch_order
from aejax.training.loop import make_source
from aejax.training.sharding import data_mesh


def batches(source, order, first=0, pace=3):
    """Every batch's images that a source gives, in order, as numpy."""
    result, offsets = [], []
    for segment in source.segments(order, first, lambda: pace):
        for i in range(segment.first, segment.last):
            result.append(np.asarray(source.take(segment.arrays, i)["x"]))
            offsets.append(segment.offset + i)
    return np.stack(result), offsets


@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("stream", [False, True])
def test_sources_give_the_order_that_they_are_told(images, stream, first, monkeypatch):
    monkeypatch.setattr(stream_module, "CHUNK_BYTES", 3 * 5 * 64)  # three batches a chunk
    order = epoch_order(jax.random.key(0), 0, len(images), 5)
    chex.assert_shape(order, (7, 5))
    got, offsets = batches(make_source(images, data_mesh(1), stream=stream), order, first)
    expected = images["x"][np.asarray(order)][first:]
    np.testing.assert_array_equal(np.rint(got * 255).astype(np.uint8), expected)
    np.testing.assert_allclose(got, expected.astype(np.float32) / 255, rtol=1e-6)
    assert offsets == list(range(first, 7))


def test_an_epochs_order_is_a_permutation_less_the_remainder():
    orders = [np.asarray(epoch_order(jax.random.key(3), e, 37, 5)).ravel() for e in range(3)]
    for order in orders:
        assert len(set(order.tolist())) == 35
        assert order.min() >= 0
        assert order.max() < 37
    assert not np.array_equal(orders[0], orders[1])
    again = np.asarray(epoch_order(jax.random.key(3), 1, 37, 5)).ravel()
    np.testing.assert_array_equal(orders[1], again)


def test_shuffling_is_uniform():
    # Where image 0 stands in 2,000 epochs of 10 images: chi-square with 9 degrees of freedom.
    orders = jax.vmap(lambda e: epoch_order(jax.random.key(0), e, 10, 10))(np.arange(2000))
    positions = np.argmax(np.asarray(orders).reshape(2000, 10) == 0, axis=1)
    counts = np.bincount(positions, minlength=10)
    assert np.sum((counts - 200) ** 2 / 200) < 27.9  # p = 0.001


def test_streaming_reads_no_more_than_the_prefetch_ahead(images, monkeypatch):
    monkeypatch.setattr(stream_module, "CHUNK_BYTES", 1)  # a batch a chunk
    reads = []

    class Watched:
        def __init__(self, array):
            self.array, self.shape, self.ndim, self.dtype = array, array.shape, 4, array.dtype

        def __getitem__(self, index):
            if np.ndim(index):
                reads.append(index)
            return self.array[index]

        def __len__(self):
            return len(self.array)

    watched = Dataset({"x": Watched(images["x"]), "label": images.labels})
    order = np.arange(36, dtype=np.int32).reshape(18, 2)
    segments = Stream(watched, data_mesh(1)).segments(order, 0, lambda: 1)
    next(segments)
    import time

    time.sleep(0.5)
    assert len(reads) <= 2 + stream_module.PREFETCH
    segments.close()


def test_gather_batch_scales_to_one(images):
    rows = np.array([3, 1])
    batch = gather_batch(images.arrays, rows)
    chex.assert_shape(batch["x"], (2, 8, 8, 1))
    chex.assert_type(batch["x"], np.float32)
    assert float(batch["x"].max()) <= 1
    np.testing.assert_array_equal(batch["label"], images.labels[rows])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "name what is modelled 'x'"),
        ({"label": np.zeros(3, np.int32)}, "name what is modelled 'x'"),
        ({"x": np.zeros((3, 4), np.uint8), "label": np.zeros(2, np.int32)}, "differ in length"),
        ({"x": np.float32(1)}, "x is a scalar"),
        ({"x": np.array(["a", "b"])}, "x is of <U1"),
        ({"x": np.array([2**40])}, "x holds 1099511627776, beyond int32"),
    ],
)
def test_what_is_no_data_set_is_one_line(arrays, message):
    with pytest.raises(ValueError, match=message):
        Dataset(arrays)


def test_arrays_of_any_kind_become_what_the_device_takes():
    arrays = {
        "x": np.arange(6, dtype=np.int64).reshape(3, 2),
        "weight": np.array([0.5, 1.0, 2.0]),
        "mask": np.array([[True], [False], [True]]),
        "image": np.array([[0], [51], [255]], np.uint8),
    }
    batch = gather_batch(Dataset(arrays).arrays, np.array([2, 0]))
    assert {k: v.dtype.name for k, v in batch.items()} == {
        "x": "int32",
        "weight": "float32",
        "mask": "bool",
        "image": "float32",
    }
    np.testing.assert_array_equal(batch["x"], [[4, 5], [0, 1]])
    np.testing.assert_array_equal(batch["image"], [[1.0], [0.0]])
    spec = Dataset(arrays).spec
    assert {k: (v.shape, v.dtype) for k, v in spec.items()} == {
        k: (v.shape[1:], v.dtype) for k, v in batch.items()
    }

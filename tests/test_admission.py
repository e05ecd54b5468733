"""What a person's arrays are: right as they are, or one line that names the cure."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import aejax
from aejax import Dataset, admission, likelihoods, metrics, models, nets, objectives
from aejax.admission import Kind, admitted
from aejax.runs.config import Config
from aejax.runs.opening import check_range
from aejax.runs.recipe import Recipe
from aejax.runs.run import Run
from aejax.runs.splits import Splits

IMAGE = Kind((4, 4, 1), np.uint8)
RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
LEVELS[0, 0, 0, 0], LEVELS[-1, -1, -1, -1] = 0, 255
TAKEN = {
    "uint8": (LEVELS, LEVELS),
    "floats": (LEVELS / 255, (LEVELS / 255).astype(np.float32)),
    "a list": ((LEVELS / 255).tolist(), (LEVELS / 255).astype(np.float32)),
    "jax": (jnp.asarray(LEVELS), LEVELS),
    "bfloat16": ((LEVELS > 9).astype(jnp.bfloat16), (LEVELS > 9).astype(np.float32)),
    "bools": (LEVELS > 9, (LEVELS > 9).astype(np.float32)),
    "none": (LEVELS[:0], LEVELS[:0]),
}
NAN = np.where(np.arange(6)[:, None, None, None] == 4, np.nan, LEVELS / 255)
REFUSED = {
    "int64": (LEVELS.astype(int), r"x is of int64 and spans \[0, 255\].* uint8: give 8-bit"),
    "uint16": (LEVELS.astype(np.uint16), r"x is of uint16 and spans .*x.astype\(np.uint8\)"),
    "floats of levels": (LEVELS.astype(float), r"x spans \[0, 255\], .*\[0, 1\]: give"),
    "centred floats": (LEVELS / 127.5 - 1, r"x spans \[-1, .*\[0, 1\]: give"),
    "NaN": (NAN, r"x holds what is not finite, in row 4: mend or remove it"),
    "infinity": (np.full((1, 4, 4, 1), np.inf), r"not finite, in row 0"),
    "beyond float32": (np.full((1, 4, 4, 1), 1e300), r"not finite, in row 0"),
    "one": (LEVELS[0], r"x \[4, 4, 1\] is not \[N, 4, 4, 1\]: give x\[None\] for one example"),
    "no channel": (LEVELS[..., 0], r"x \[6, 4, 4\] is not \[N, 4, 4, 1\]"),
    "a scalar": (3, r"x \[\] is not \[N, 4, 4, 1\]"),
    "nothing": (None, "x is a NoneType: give integers, floats or bools"),
    "text": ("a", "x is of <U1: give integers"),
    "ragged": ([[1], [1, 2]], "x has rows of several lengths"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_images_are_taken(name):
    given, expected = TAKEN[name]
    found = admitted("x", given, IMAGE)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_one_line(name):
    given, said = REFUSED[name]
    with pytest.raises(ValueError, match=said) as error:
        admitted("x", given, IMAGE)
    assert "\n" not in str(error.value)


def test_vectors_and_tokens_keep_their_numbers():
    vectors, tokens = Kind((3,), np.float32), Kind((3,), np.int32)
    np.testing.assert_array_equal(admitted("x", [[1.5, 2, -300]], vectors), [[1.5, 2, -300]])
    for given in ([[1, 2, 300]], np.uint16([[1, 2, 300]])):
        found = admitted("x", given, tokens)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, [[1, 2, 300]])
    with pytest.raises(ValueError, match="trained on float32: give floats on their scale"):
        admitted("x", np.uint8([[1, 2, 3]]), vectors)  # would be divided by 255
    with pytest.raises(ValueError, match="trained on int32"):
        admitted("x", [[1.0, 2, 3]], tokens)
    with pytest.raises(ValueError, match="beyond int32"):
        admitted("x", [[1, 2, 2**40]], tokens)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (LEVELS.astype(np.float32), r"x holds whole numbers from 0 to 255 as floats"),
        (NAN, "x holds what is not finite, in row 4"),
        (np.full((3, 2), np.inf), "not finite, in row 0"),
    ],
)
def test_a_data_set_of_what_is_no_data_is_refused(x, said):
    with pytest.raises(ValueError, match=said):
        Dataset({"x": x})


def test_a_data_set_takes_lists_and_other_integers():
    data = Dataset({"x": LEVELS, "label": [0, 1, 2, 0, 1, 2]})
    assert data["label"].dtype == np.int32
    assert data.labelled


@pytest.mark.parametrize("likelihood", [likelihoods.bernoulli(), likelihoods.categorical()])
@pytest.mark.parametrize("dtype", [int, np.uint16, np.uint8])
def test_integers_never_reach_a_likelihood_of_the_unit_interval(likelihood, dtype):
    """Inside of jit, where their range cannot be seen."""
    x = jnp.asarray(LEVELS.astype(dtype))
    outputs = jnp.zeros((6, 4, 4, likelihood.channels(1)))
    with pytest.raises(ValueError, match=r"x is of u?int\d+, and must lie in \[0, 1\]"):
        jax.eval_shape(likelihood.log_prob, outputs, x)


def test_fit_refuses_integers_for_images():
    model = models.vae(*nets.mlp_pair((4, 4, 1), (3,)), 2, likelihoods.bernoulli())
    optimizer, data = optax.adam(1e-3), Dataset({"x": LEVELS.astype(int)})
    params = model.init(jax.random.key(0), {"x": jnp.zeros((1, 4, 4, 1))})["params"]
    state = aejax.TrainState.create(params, optimizer, jax.random.key(0))
    loss_fn = objectives.make_loss(model, objectives.Elbo())
    with pytest.raises(ValueError, match="x is of int32"):
        aejax.fit(state, loss_fn, optimizer, data, epochs=1, batch_size=2)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.squared_error_per_pixel])
def test_metrics_of_uint8_are_those_of_the_unit_interval(metric):
    x = RNG.integers(0, 256, (2, 12, 12, 1), dtype=np.uint8)
    y = np.clip(x.astype(int) + RNG.integers(-5, 6, x.shape), 0, 255).astype(np.uint8)
    expected = metric(x / 255, y / 255)
    for a, b in ((x, y), (x / 255, y), (jnp.asarray(x), jnp.asarray(y))):
        np.testing.assert_allclose(metric(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(metric)(x, y), expected, rtol=1e-5)
    for wrong in (x.astype(int), x.astype(float), np.full(x.shape, np.nan)):
        with pytest.raises(ValueError, match="y (is of int64|spans|holds)"):
            metric(x, wrong)


def test_psnr_of_uint8_is_numpys_in_float64():
    x = RNG.integers(0, 256, (2, 12, 12, 1), dtype=np.uint8)
    y = x ^ np.uint8(3)
    error = np.mean((x.astype(np.float64) - y) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(metrics.psnr(x, y), 10 * np.log10(255**2 / error), rtol=1e-5)


@pytest.fixture(scope="module")
def run():
    """A run of an untrained VAE of images."""
    model = models.vae(*nets.mlp_pair((4, 4, 1), (3,)), 2, likelihoods.bernoulli())
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((1, 4, 4, 1))})
    optimizer, objective = optax.adam(1e-3), objectives.Elbo()
    loss = objectives.make_loss(model, objective)
    state = aejax.TrainState.create(variables["params"], optimizer, jax.random.key(0))
    recipe = Recipe(model, objective, loss, optimizer, None)
    spec = Dataset({"x": LEVELS}).spec
    return Run(Config(), recipe, state, {}, [], Path(), spec, {}, {"x": "uint8"})


def test_codes_are_those_of_the_images_or_refused(run):
    codes = run.encode(LEVELS)
    np.testing.assert_allclose(run.encode(LEVELS / 255), codes, rtol=1e-5, atol=1e-6)
    for name in ("int64", "uint16", "floats of levels", "NaN", "one", "no channel"):
        given, said = REFUSED[name]
        for function in (run.encode, run.reconstruct, run.evaluate):
            with pytest.raises(ValueError, match=said):
                function(given)
        with pytest.raises(ValueError, match=said):
            run.encode({"x": given})


def test_no_images_have_no_codes_and_no_metrics(run):
    assert run.encode(LEVELS[:0]).shape == (0, 2)
    assert run.reconstruct(LEVELS[:0]).shape == (0, 4, 4, 1)
    assert run.decode(np.zeros((0, 2))).shape == (0, 4, 4, 1)
    for nothing in (LEVELS[:0], Dataset({"x": LEVELS[:0]})):
        with pytest.raises(ValueError, match="x holds no examples: give at least one"):
            run.evaluate(nothing)


def test_codes_that_the_model_does_not_have_are_refused(run):
    for wrong, said in (
        (np.zeros((3, 5)), r"z \[3, 5\] is not \[N, 2\]"),
        (np.zeros(2), r"give z\[None\] for one"),
        (np.full((3, 2), np.nan), "z holds what is not finite, in row 0"),
        (np.zeros((3, 2), int), "z is of int64"),
    ):
        with pytest.raises(ValueError, match=said):
            run.decode(wrong)


def test_arrays_are_evaluated_as_a_data_set_is(run):
    assert run.evaluate(LEVELS) == run.evaluate(Dataset({"x": LEVELS}))


def test_a_run_of_floats_knows_the_range_of_its_likelihood(run):
    data = Dataset({"x": 3 * RNG.random((6, 4, 4, 1))})
    with pytest.raises(aejax.UsageError, match=r"--dataset .*: x spans \[0.\d+, 2.\d+\]"):
        check_range(Config(), run.recipe, Splits(data, data))
    check_range(Config(), run.recipe, Splits(Dataset({"x": LEVELS}), Dataset({"x": LEVELS / 255})))


def test_traced_images_are_not_looked_at():
    jax.eval_shape(lambda x: admission.unit_images("x", x), jax.ShapeDtypeStruct((2,), jnp.float32))

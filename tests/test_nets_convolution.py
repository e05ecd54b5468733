"""The convolutions against XLA's own: outputs and both gradients."""

import itertools

import chex
import flax.linen as nn
import jax
import pytest
from jax.test_util import check_grads

import aejax.nets.layers
from aejax.nets.convolution import convolution
from aejax.nets.layers import Conv, ConvTranspose
from aejax.nets.matmul_convolution import matmul_convolution


def reference_and_ours(make, x):
    """(output, parameter gradient, input gradient) of flax's layer and of ours, same parameters."""
    results = []
    for layer in make:
        params = make[0].init(jax.random.key(1), x)

        @jax.jit
        def run(params, x, layer=layer):
            out, pull = jax.vjp(layer.apply, params, x)
            return out, *pull(jax.random.normal(jax.random.key(2), out.shape))

        results.append(run(params, x))
    return results


PADDINGS = ["SAME", "VALID", "explicit", "CIRCULAR"]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    ("shape", "size", "dilation", "stride", "features"),
    [
        ((2, 11, 3), 4, 1, 2, 5),
        ((2, 10, 9, 3), 1, 1, 1, 5),
        ((2, 10, 9, 3), 3, 2, 1, 5),
        ((2, 10, 9, 3), 3, 1, 2, 5),
        ((2, 10, 9, 3), 4, 1, 3, 5),
        ((2, 10, 9, 3), 4, 1, 1, 2),  # fewer channels out than in
        ((2, 10, 9, 3), 3, 1, 1, 1),  # one channel out
        ((2, 10, 9, 1), 3, 1, 2, 5),  # one channel in
        ((2, 10, 9, 1), 3, 2, 1, 5),
        ((3, 10, 9, 2), 2, 1, 3, 5),  # an odd batch, a stride beyond the kernel
        ((2, 10, 9, 3), 5, 1, 1, 5),  # windows of more than a few slices
        ((2, 10, 9, 3), 4, 2, 1, 5),
    ],
)
def test_conv_is_flaxs(shape, size, dilation, stride, features, padding):
    rank = len(shape) - 2
    if padding == "explicit":
        padding = [(1, 2)] * rank
    options = {
        "features": features,
        "kernel_size": (size,) * rank,
        "strides": (stride,) * rank,
        "kernel_dilation": dilation,
        "padding": padding,
    }
    x = jax.random.normal(jax.random.key(0), shape)
    theirs, ours = reference_and_ours([nn.Conv(**options), Conv(**options)], x)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "explicit"])
@pytest.mark.parametrize(("stride", "size"), [(1, 3), (2, 3), (2, 4), (3, 1), (3, 4)])
@pytest.mark.parametrize("shape", [(2, 6, 5, 3)])
def test_conv_transpose_is_flaxs(shape, size, stride, padding):
    rank = len(shape) - 2
    if padding == "explicit":
        padding = [(1, 2)] * rank
    options = {
        "features": 5,
        "kernel_size": (size,) * rank,
        "strides": (stride,) * rank,
        "padding": padding,
    }
    x = jax.random.normal(jax.random.key(0), shape)
    layers = [nn.ConvTranspose(**options), ConvTranspose(**options)]
    if 0 in jax.eval_shape(layers[0].init_with_output, jax.random.key(0), x)[0].shape:
        pytest.skip("the output is empty")
    theirs, ours = reference_and_ours(layers, x)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lhs_dilation", [(1, 1), (2, 3)])
def test_second_order_gradients(lhs_dilation):
    x = jax.random.normal(jax.random.key(0), (1, 4, 3, 2))
    kernel = jax.random.normal(jax.random.key(1), (2, 3, 2, 2))
    check_grads(
        lambda x, k: matmul_convolution(x, k, (1, 1), ((1, 1), (2, 1)), lhs_dilation, (1, 1)) ** 2,
        (x, kernel),
        order=2,
        modes=["rev"],
        atol=0.05,
        rtol=0.05,
    )


def test_vmap_over_kernels_and_images():
    x = jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 2))
    kernels = jax.random.normal(jax.random.key(1), (3, 3, 3, 2, 4))

    def conv(x, kernel):
        return convolution(x, kernel, (2, 2), "SAME")

    got = jax.jit(jax.vmap(conv))(x, kernels)
    for i, j in itertools.product(range(3), range(1)):
        chex.assert_trees_all_close(got[i], conv(x[i], kernels[i + j]), rtol=1e-5, atol=1e-5)


def test_padding_that_crops_is_xlas():
    x = jax.random.normal(jax.random.key(0), (2, 8, 7, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))

    def both(function, **options):
        y, pull = jax.vjp(
            lambda x, k: function(x, k, (2, 1), ((-1, 2), (1, -2)), **options), x, kernel
        )
        return y, *pull(jax.random.normal(jax.random.key(2), y.shape))

    theirs = both(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    chex.assert_trees_all_close(both(convolution), theirs, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 0, 5, 3), (0, 4, 5, 3), (1, 4, 5, 0)])
def test_nothing_in_is_padding_out(shape):
    y = convolution(
        jax.numpy.ones(shape), jax.numpy.ones((3, 3, shape[-1], 4)), (1, 1), [(3, 3)] * 2
    )
    assert y.shape == (shape[0], shape[1] + 4, 9, 4)
    assert not y.any()


def test_a_stride_beyond_a_single_site_is_not_padded():
    x, kernel = jax.numpy.ones((1, 8, 8, 3)), jax.numpy.ones((3, 3, 3, 4))
    function = jax.jit(lambda x, k: convolution(x, k, (2048, 2048), "VALID"))
    assert function.lower(x, kernel).compile().memory_analysis().temp_size_in_bytes < 10_000


@pytest.mark.parametrize("features", [2, 5])
@pytest.mark.parametrize("batch", [3, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_one_device_takes_the_batch_in_halves(monkeypatch, kind, stride, batch, features):
    monkeypatch.setattr("aejax.nets.matmul_convolution.jax.device_count", lambda: 1)
    options = {"features": features, "kernel_size": (3, 3), "strides": (stride, stride)}
    x = jax.random.normal(jax.random.key(0), (batch, 6, 5, 3))
    layers = [getattr(module, kind)(**options) for module in (nn, aejax.nets.layers)]
    theirs, ours = reference_and_ours(layers, x)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", [Conv(5, (3, 3)), ConvTranspose(5, (3, 3), strides=(2, 2))])
def test_the_devices_share_the_gradients(layer):
    devices = jax.sharding.Mesh(jax.devices()[:3], "data")
    batch = jax.sharding.NamedSharding(devices, jax.sharding.PartitionSpec("data"))
    whole = jax.sharding.NamedSharding(devices, jax.sharding.PartitionSpec())
    x = jax.device_put(jax.numpy.ones((6, 8, 8, 2)), batch)
    params = jax.device_put(layer.init(jax.random.key(0), x), whole)
    gradients = jax.jit(jax.grad(lambda p, x: jax.numpy.sum(layer.apply(p, x) ** 2), (0, 1)))
    compiled = gradients.lower(params, x).compile().as_text()
    assert "all-reduce" in compiled
    assert "all-gather" not in compiled


def test_a_value_outside_its_windows_does_no_harm():
    x = jax.numpy.zeros((1, 6, 6, 2)).at[0, 0, 0, 0].set(jax.numpy.nan)
    y = convolution(x, jax.numpy.ones((3, 3, 2, 2)), (1, 1), "VALID")
    assert jax.numpy.isnan(y[0, 0, 0]).all()
    assert jax.numpy.isfinite(y.at[0, 0, 0].set(0)).all()


def test_groups_are_xlas():
    options = {"features": 6, "kernel_size": (3, 3), "feature_group_count": 3}
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 3))
    theirs, ours = reference_and_ours([nn.Conv(**options), Conv(**options)], x)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_on_cpu_no_convolution_is_left():
    x, kernel = jax.numpy.ones((2, 8, 8, 3)), jax.numpy.ones((3, 3, 3, 4))
    lowered = jax.jit(lambda x, k: convolution(x, k, (1, 1), "SAME")).lower(x, kernel).as_text()
    assert "stablehlo.convolution" not in lowered
    assert "stablehlo.dot_general" in lowered


@pytest.mark.parametrize(
    ("limit", "stride", "features"),
    [(2_000, 1, 5), (2_000, 2, 5), (20_000, 1, 2)],  # bands of rows, parts of the batch
)
def test_parts_and_bands_change_nothing(monkeypatch, limit, stride, features):
    options = {"features": features, "kernel_size": (3, 3), "strides": stride}
    x = jax.random.normal(jax.random.key(0), (4, 11, 9, 3))
    monkeypatch.setattr("aejax.nets.convolution.TILE_BYTES", limit)
    jax.clear_caches()
    text = jax.jit(lambda x: Conv(**options).init_with_output(jax.random.key(0), x)).lower(x)
    assert "while" in text.as_text()
    whole, tiled = reference_and_ours([nn.Conv(**options), Conv(**options)], x)
    chex.assert_trees_all_close(tiled, whole, rtol=1e-4, atol=1e-4)


def test_a_transposed_convolution_goes_in_parts(monkeypatch):
    options = {"features": 4, "kernel_size": (3, 3), "strides": (2, 2)}
    x = jax.random.normal(jax.random.key(0), (4, 5, 6, 3))
    monkeypatch.setattr("aejax.nets.convolution.TILE_BYTES", 10_000)
    theirs, ours = reference_and_ours([nn.ConvTranspose(**options), ConvTranspose(**options)], x)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-4)

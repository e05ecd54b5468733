"""The convolutions against XLA's own: outputs and both gradients."""

import itertools
import re

import chex
import flax.linen as nn
import jax
import pytest

import aejax.nets.convolution
from aejax.nets.convolution import convolution
from aejax.nets.gpu_convolution import GPU
from aejax.nets.layers import Conv, ConvTranspose


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


@pytest.fixture(params=["cpu", "gpu"])
def form(request, monkeypatch):
    """The CPU's form or the GPU's, both computed on the CPU."""
    if request.param == "gpu":
        monkeypatch.setattr(aejax.nets.convolution, "CPU", GPU)


def in_turn(ways, cases):
    """Every case with every way: the first way, the second ... in turn; the others are slow."""
    return [
        pytest.param(*way, *case, marks=[] if i % len(ways) == k else pytest.mark.slow)
        for i, case in enumerate(cases)
        for k, way in enumerate(ways)
    ]


WAYS = [
    ("SAME", "cpu"),
    ("SAME", "gpu"),
    ("VALID", "cpu"),
    ("explicit", "cpu"),
    ("CIRCULAR", "cpu"),
]
CONVOLUTIONS = [
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
    ((2, 10, 9, 3), 5, 1, 1, 5),
    ((2, 10, 9, 3), 4, 2, 1, 5),
    ((2, 11, 4), 4, 1, 2, 5),  # four channels and more: XLA's form
    ((2, 10, 9, 4), 3, 1, 1, 5),
    ((2, 10, 9, 5), 3, 2, 1, 4),
    ((2, 10, 9, 4), 4, 1, 3, 5),
    ((2, 10, 9, 4), 3, 2, 2, 5),  # strides of a dilated kernel
    ((1, 5, 4, 5, 4), 2, 1, 2, 5),  # volumes
]


@pytest.mark.parametrize(
    ("padding", "form", "shape", "size", "dilation", "stride", "features"),
    in_turn(WAYS, CONVOLUTIONS),
    indirect=["form"],
)
def test_conv_is_flaxs(shape, size, dilation, stride, features, padding, form):
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


TRANSPOSED_WAYS = list(itertools.product(["cpu", "gpu"], ["SAME", "VALID", "explicit"]))
TRANSPOSED = list(
    itertools.product(
        [(2, 6, 5, 3), (2, 6, 5, 4)],
        [(1, 3), (2, 3), (2, 4), (3, 1), (3, 4)],
    )
)


@pytest.mark.parametrize(
    ("form", "padding", "shape", "stride_and_size"),
    in_turn(TRANSPOSED_WAYS, TRANSPOSED),
    indirect=["form"],
)
def test_conv_transpose_is_flaxs(shape, stride_and_size, padding, form):
    stride, size = stride_and_size
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


XLAS = jax.lax.conv_general_dilated
FORMS = [  # channels in and out, input dilation, strides
    (4, 5, 1, 1),
    (5, 4, 1, 2),
    (4, 4, 2, 1),
    (1, 4, 1, 2),
    (4, 1, 1, 1),
    (4, 1, 2, 1),
]


@pytest.mark.parametrize(
    ("form", "channels", "features", "inner", "stride"),
    in_turn([("cpu",), ("gpu",)], FORMS),
    indirect=["form"],
)
def test_derivatives_of_either_mode_and_order_are_xlas(channels, features, inner, stride, form):
    x = jax.random.normal(jax.random.key(0), (1, 6, 7, channels))
    kernel = jax.random.normal(jax.random.key(1), (2, 3, channels, features))
    options = ((stride, stride), ((1, 1), (2, 1)), (inner, inner))

    def derivatives(function, **layout):
        def loss(x, kernel):
            return jax.numpy.sum(function(x, kernel, *options, **layout) ** 2)

        def slope(x, kernel):
            return jax.jvp(loss, (x, kernel), (x**2, kernel**2))[1]

        def steepness(x, kernel):
            return sum(jax.numpy.sum(g**2) for g in jax.grad(loss, (0, 1))(x, kernel))

        moved = ((x, kernel), (x**3, kernel**3))
        twice = [jax.grad(slope, (0, 1))(x, kernel), jax.grad(steepness, (0, 1))(x, kernel)]
        return slope(x, kernel), jax.jvp(steepness, *moved), twice

    theirs = jax.jit(lambda: derivatives(XLAS, dimension_numbers=("NHWC", "HWIO", "NHWC")))()
    ours = jax.jit(lambda: derivatives(convolution))()
    chex.assert_trees_all_close(ours, theirs, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("argument", [0, 1])
def test_the_tangent_of_one_argument_is_xlas(argument):
    arguments = [
        jax.random.normal(jax.random.key(0), (2, 6, 5, 4)),
        jax.random.normal(jax.random.key(1), (3, 3, 4, 5)),
    ]
    moved = arguments[argument]

    def tangent(function, **options):
        def of_moved(moved):
            return function(
                *arguments[:argument], moved, *arguments[argument + 1 :], (1, 1), "SAME", **options
            )

        return jax.jvp(of_moved, (moved,), (moved**2,))

    layout = ("NHWC", "HWIO", "NHWC")
    theirs = tangent(XLAS, dimension_numbers=layout)
    chex.assert_trees_all_close(tangent(convolution), theirs, rtol=1e-4, atol=1e-4)


def gradients_in_a_loop(channels, features, **options):
    layer = Conv(features, (3, 3), **options)
    x = jax.numpy.ones((2, 8, 8, channels))
    params = jax.eval_shape(layer.init, jax.random.key(0), x)

    def gradients(carry, _):
        params, x = carry
        moved = jax.grad(lambda p, x: jax.numpy.sum(layer.apply(p, x) ** 2), (0, 1))(params, x)
        return jax.tree.map(jax.numpy.subtract, carry, moved), None

    loop = jax.jit(lambda carry: jax.lax.scan(gradients, carry, length=2)[0])
    return loop.trace((params, x))


@pytest.mark.parametrize("options", [{}, {"strides": 2}, {"kernel_dilation": 2}])
def test_on_cpu_every_convolution_of_a_loop_is_in_the_fast_layout(options):
    compiled = gradients_in_a_loop(4, 8, **options).lower().compile().as_text()
    layouts = set(re.findall(r"dim_labels=(\S+?)[,\s]", compiled))
    assert layouts == {"b01f_01io->b01f"}


def test_on_cpu_few_channels_are_products():
    lowered = gradients_in_a_loop(1, 8).lower().as_text()
    assert "stablehlo.convolution" not in lowered
    assert "stablehlo.dot_general" in lowered


@pytest.mark.parametrize("channels", [1, 4])
def test_on_tpu_every_form_is_xlas(channels):
    lowered = gradients_in_a_loop(channels, 8).lower(lowering_platforms=("tpu",)).as_text()
    assert lowered.count("stablehlo.convolution") == 3
    assert "stablehlo.dot_general" not in lowered
    assert "optimization_barrier" not in lowered


@pytest.mark.parametrize(("channels", "convolutions"), [(1, 0), (4, 3)])
def test_on_cuda_few_channels_are_products_and_others_are_xlas(channels, convolutions):
    lowered = gradients_in_a_loop(channels, 8).lower(lowering_platforms=("cuda",)).as_text()
    assert lowered.count("stablehlo.convolution") == convolutions
    assert ("stablehlo.dot_general" in lowered) == (convolutions == 0)


def test_on_cuda_a_transposed_convolution_takes_no_image_for_a_kernel():
    layer = ConvTranspose(8, (3, 3), strides=(2, 2))
    x = jax.numpy.ones((2, 14, 14, 4))
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    gradients = jax.jit(jax.grad(lambda p, x: jax.numpy.sum(layer.apply(p, x) ** 2), (0, 1)))
    lowered = gradients.trace(params, x).lower(lowering_platforms=("cuda",)).as_text()
    strides = re.findall(r"window = \{(.*?)\}", lowered)
    # The kernel's gradient is a strided convolution's: its outputs' steps dilate the kernel.
    assert sum("rhs_dilate = [2, 2]" in each for each in strides) == 1
    assert sum("stride = [2, 2]" in each for each in strides) == 1
    assert sum("lhs_dilate = [2, 2]" in each for each in strides) == 1


def test_reverse_mode_keeps_no_windows():
    layer = Conv(8, (3, 3))
    x = jax.numpy.ones((2, 16, 16, 8))
    params = layer.init(jax.random.key(0), x)
    kept = jax.tree.leaves(jax.vjp(layer.apply, params, x)[1])
    assert sum(leaf.size for leaf in kept) < 2 * x.size


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

"""Mixtures of discretised logistics over 8-bit levels, as in PixelCNN++.

Salimans et al. 2017 (arXiv 1701.05517), section 2. Here they model a pixel given z, not given the
pixels before it. Locations and scales are in units of [-1, 1], as in the authors' code.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from aejax.likelihoods.continuous_bernoulli import log_partition
from aejax.likelihoods.likelihood import LEVELS, Likelihood, as_float, level_of, require_levels

_MIN_LOG_SCALE = -7.0  # the authors'; a level is 2/255, e^-4.8
_LEVEL = 2 / (LEVELS - 1)  # the distance of two levels in [-1, 1]
_PER_COMPONENT = {1: 3, 3: 10}  # outputs by the channels of x: see `logistic_mixture_log_prob`


def logistic_mixture_log_prob(outputs: jax.Array, x: jax.Array) -> jax.Array:
    """Log-probability in nats of 8-bit levels under a mixture of K discretised logistics.

    Equations 2 and 3: a component's mass of a level is its logistic's between the halfway points to
    the neighbours, to infinity at 0 and 255. Of colours a pixel is one draw of a component, whose
    location of green is shifted by a multiple of red, and that of blue by ones of red and green.

    Args:
        outputs: `[B, ..., 3 K]` for grey x: the K components' logits, locations, log scales.
            `[B, ..., 10 K]` for colour: K logits; then for each of red, green, blue K locations, K
            log scales and K coefficients before their tanh (green's of red, blue's of red, blue's
            of green). Log scales are taken as -7 at least.
        x: `[B, ..., C]`, multiples of 1/255 in [0, 1]; C is 1 or 3.

    Returns:
        `[B]`, nats.

    Raises:
        ValueError: if the shapes do not fit, or x, when not traced, is off the levels.
    """
    _require_components(outputs, x)
    require_levels(x)
    batch, channels = x.shape[0], x.shape[-1]
    # Of one axis for all pixels: see `as_rows`.
    mixture = _mixture(outputs.reshape(batch, -1, outputs.shape[-1]), channels)
    level = level_of(as_float(jnp.asarray(x))).reshape(batch, -1, channels)
    of_each = jax.nn.log_softmax(mixture.logits)
    for channel in range(channels):
        before = [_signed(level[..., i, None]) for i in range(channel)]
        location, log_scale = _logistic(mixture, channel, before)
        of_each = of_each + _log_mass(level[..., channel, None], location, log_scale)
    return jnp.sum(jax.nn.logsumexp(of_each, axis=-1), axis=-1)


def logistic_mixture(components: int = 5) -> Likelihood:
    """Grey or colour pixels of 256 levels; outputs as `logistic_mixture_log_prob` has them.

    The mean is exact for grey. Of colour, green's and blue's are those at the means of the channels
    before them: exact but for what a level's bounds 0 and 255 cut off.

    Args:
        components: K.

    Raises:
        ValueError: if `components` is not positive; from `channels`, unless given 1 or 3.
    """
    if components < 1:
        raise ValueError(f"components {components} is not positive")

    def channels(data_channels: int) -> int:
        if data_channels not in _PER_COMPONENT:
            raise ValueError(
                f"a logistic mixture is of grey or colour images, of 1 or 3 channels, not "
                f"{data_channels}: take the categorical likelihood"
            )
        return _PER_COMPONENT[data_channels] * components

    def mixture(outputs: jax.Array) -> _Mixture:
        for data_channels in _PER_COMPONENT:
            if outputs.shape[-1] == channels(data_channels):
                return _mixture(outputs, data_channels)
        raise ValueError(
            f"outputs {outputs.shape} are not of {components} components: expected {channels(1)} "
            f"channels (grey) or {channels(3)} (colour)"
        )

    return Likelihood(
        logistic_mixture_log_prob,
        lambda outputs: _mean(mixture(outputs)),
        lambda key, outputs: _sample(key, mixture(outputs)),
        channels,
        levels=True,
        unit=True,
    )


class _Mixture(NamedTuple):
    """Logits `[..., K]`, locations and log scales `[..., C, K]`, coefficients `[..., 3, K]`."""

    logits: jax.Array
    location: jax.Array
    log_scale: jax.Array
    coefficients: jax.Array | None


def _require_components(outputs: jax.Array, x: jax.Array) -> None:
    shape, given = jnp.shape(x), jnp.shape(outputs)
    if len(shape) < 2 or shape[-1] not in _PER_COMPONENT:
        raise ValueError(f"x {shape} is not [B, ..., C] with 1 or 3 channels C")
    per_component = _PER_COMPONENT[shape[-1]]
    if given[:-1] != shape[:-1] or given[-1] == 0 or given[-1] % per_component:
        raise ValueError(
            f"outputs {given} do not fit x {shape}: expected {(*shape[:-1], f'{per_component} K')} "
            "for K components"
        )


def _mixture(outputs: jax.Array, channels: int) -> _Mixture:
    outputs = as_float(outputs)
    components = outputs.shape[-1] // _PER_COMPONENT[channels]
    logits, rest = jnp.split(outputs, [components], axis=-1)
    rest = rest.reshape(*rest.shape[:-1], channels, -1, components)
    return _Mixture(
        logits,
        rest[..., 0, :],
        jnp.maximum(rest[..., 1, :], _MIN_LOG_SCALE),
        jnp.tanh(rest[..., 2, :]) if channels == 3 else None,
    )


def _logistic(
    mixture: _Mixture, channel: int, before: list[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Location and log scale `[..., K]` of a channel given those before it, in [-1, 1]."""
    location = mixture.location[..., channel, :]
    for i, value in enumerate(before):
        assert mixture.coefficients is not None
        # Green's coefficient is number 0, blue's are 1 and 2.
        location = location + mixture.coefficients[..., channel - 1 + i, :] * value
    return location, mixture.log_scale[..., channel, :]


def _log_mass(level: jax.Array, location: jax.Array, log_scale: jax.Array) -> jax.Array:
    """Log of sigmoid(u) - sigmoid(l), with u and l the bin's ends less the location, over scale.

    It is log(sigmoid(u) sigmoid(-l) (1 - e^-w)), w = u - l: no difference of nearly equal numbers,
    however narrow or far off the bin. log(1 - e^-w) = log w + log((1 - e^-w) / w) in turn stays
    finite where w itself is 0 to the computer.
    """
    per_scale = jnp.exp(-log_scale)
    upper = (_signed(level) - location + _LEVEL / 2) * per_scale
    lower = (_signed(level) - location - _LEVEL / 2) * per_scale
    log_width = math.log(_LEVEL) - log_scale
    below, above = jax.nn.log_sigmoid(upper), jax.nn.log_sigmoid(-lower)
    inside = below + above + log_width + log_partition(-_LEVEL * per_scale)
    return jnp.where(level == 0, below, jnp.where(level == LEVELS - 1, above, inside))


def _mean(mixture: _Mixture) -> jax.Array:
    weights = jax.nn.softmax(mixture.logits)
    means: list[jax.Array] = []
    for channel in range(mixture.location.shape[-2]):
        means.append(_discretised_mean(*_logistic(mixture, channel, means)))
    signed = jnp.stack([jnp.sum(weights * mean, axis=-1) for mean in means], axis=-1)
    return (signed + 1) / 2


def _discretised_mean(location: jax.Array, log_scale: jax.Array) -> jax.Array:
    """The mean in [-1, 1]: from the lowest level up, a level's distance for each edge below x."""
    per_scale = jnp.exp(-log_scale)

    def pass_edge(total: jax.Array, edge: jax.Array) -> tuple[jax.Array, None]:
        return total + jax.nn.sigmoid((location - edge) * per_scale), None

    # A scan, for 255 times the memory is too much.
    edges = _signed(jnp.arange(LEVELS - 1, dtype=location.dtype) + 0.5)
    passed, _ = jax.lax.scan(pass_edge, jnp.zeros_like(location), edges)
    return passed * _LEVEL - 1


def _sample(key: jax.Array, mixture: _Mixture) -> jax.Array:
    component_key, noise_key = jax.random.split(key)
    component = jax.random.categorical(component_key, mixture.logits)[..., None]
    noise = jax.random.logistic(noise_key, mixture.location.shape[:-1], mixture.location.dtype)
    levels: list[jax.Array] = []
    for channel in range(mixture.location.shape[-2]):
        logistic = _logistic(mixture, channel, [_signed(level)[..., None] for level in levels])
        location, log_scale = (
            jnp.take_along_axis(values, component, axis=-1)[..., 0] for values in logistic
        )
        # Bounded, so that a noise of exactly 0 times it is not NaN.
        scale = jnp.exp(jnp.minimum(log_scale, 80))
        signed = location + scale * noise[..., channel]
        levels.append(jnp.clip(jnp.round((signed + 1) / _LEVEL), 0, LEVELS - 1))
    return jnp.stack(levels, axis=-1) / (LEVELS - 1)


def _signed(level: jax.Array) -> jax.Array:
    """Levels 0 to 255 -> [-1, 1]."""
    return level * _LEVEL - 1

"""Encoders and decoders, and the pairs of them that the experiments choose by name."""

from aejax.nets.conv import ConvDecoder, ConvEncoder, conv_pair
from aejax.nets.layers import LearnedScale
from aejax.nets.mlp import MLPDecoder, MLPEncoder, mlp_pair
from aejax.nets.pooled import PoolDecoder, PoolEncoder, pooled_pair

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "LearnedScale",
    "MLPDecoder",
    "MLPEncoder",
    "PoolDecoder",
    "PoolEncoder",
    "conv_pair",
    "mlp_pair",
    "pooled_pair",
]

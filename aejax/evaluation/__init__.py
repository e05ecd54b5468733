"""What trained models are judged by, beside their loss."""

from aejax.lazily import lazily

_NAMES = {
    "active_units": "posteriors",
    "aggregate_bounds": "posteriors",
    "aggregate_log_prob": "posteriors",
    "annealed_importance": "annealed",
    "attribute_vector": "latent_space",
    "auroc": "anomaly",
    "bce_per_pixel": "reconstruction",
    "bidirectional_bounds": "bidirectional",
    "cross_entropy": "anomaly",
    "diversity": "coverage",
    "frechet_distance": "features",
    "importance_estimate": "importance",
    "kernel_distance": "features",
    "knn_accuracy": "probes",
    "lerp": "latent_space",
    "linear_probe_accuracy": "probes",
    "linear_schedule": "annealed",
    "mean_and_error": "mean",
    "negative_elbo": "anomaly",
    "pca_codes": "probes",
    "permutation_tests": "two_sample",
    "quality": "reconstruction",
    "sigmoidal_schedule": "annealed",
    "slerp": "latent_space",
    "squared_error": "anomaly",
    "traversal": "latent_space",
    "usual_statistics": "two_sample",
}

__getattr__ = lazily("aejax.evaluation", _NAMES)


def __dir__() -> list[str]:
    return sorted(_NAMES)

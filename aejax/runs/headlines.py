"""The line that ends a run: test metrics -> text."""


def reconstruction(metrics: dict[str, float]) -> str:
    """Of an autoencoder."""
    per_pixel = metrics["reconstruction_per_pixel"]
    return f"reconstruction {metrics['reconstruction']:.2f} nats ({per_pixel:.5f} a pixel)"


def elbo(metrics: dict[str, float]) -> str:
    """Of a variational autoencoder."""
    return (
        f"ELBO {metrics['elbo']:.2f} nats = log-likelihood {-metrics['reconstruction']:.2f} "
        f"- KL {metrics['kl']:.2f}"
    )


def wae(metrics: dict[str, float]) -> str:
    """Of a Wasserstein autoencoder."""
    return f"reconstruction {metrics['reconstruction']:.2f} nats, squared MMD {metrics['mmd']:.5f}"

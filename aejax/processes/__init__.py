"""Several processes of one training: what they agree on, their deaths, and signals to stop."""

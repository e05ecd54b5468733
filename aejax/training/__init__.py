"""Training: the state, the step, and the one loop."""

"""Data: TFDS images decoded once to uint8, kept on the device or streamed from disk."""

"""Data: named arrays from any source, decoded once, kept on the device or streamed from disk."""

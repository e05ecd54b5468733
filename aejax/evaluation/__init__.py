"""What trained models are judged by, beside their loss."""

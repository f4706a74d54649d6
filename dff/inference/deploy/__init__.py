"""A trained model rewritten for inference."""

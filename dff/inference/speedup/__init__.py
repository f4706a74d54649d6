"""What skipping frames gives for a per-frame model on a person's own video, without training."""

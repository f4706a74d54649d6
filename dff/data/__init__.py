"""What is on disk, as samples: plain PyTorch datasets that know no network."""

"""The networks as plain PyTorch: they know no dataset and no trainer."""

"""Everything that knows Lightning, torchmetrics or wandb."""

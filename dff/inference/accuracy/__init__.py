"""How right results are, counted without torchmetrics: values in, values out."""

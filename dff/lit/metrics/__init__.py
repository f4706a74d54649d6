"""Accuracy by gap, exact over any split into batches and processes."""

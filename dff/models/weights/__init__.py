"""Weights from elsewhere; nothing in a file is executed."""

"""Evaluation of the fixed key schedule, and of flow."""

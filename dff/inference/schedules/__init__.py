"""Schedules on a model and its videos: what each would give, and one that learns from them."""

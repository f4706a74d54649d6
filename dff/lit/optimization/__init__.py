"""Optimisers, their schedules, and what stops a training that diverges."""

"""Schedules that take key frames where they are needed; the paper's is in `dff.models.schedule`."""

"""Verbs that train and compare schedules."""

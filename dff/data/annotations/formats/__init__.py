"""Readers of annotation files, one for each format."""

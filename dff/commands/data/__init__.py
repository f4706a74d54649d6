"""Verbs about data: what labels hold, frames as images, and the speed of loading."""

"""A model over videos, without Lightning."""

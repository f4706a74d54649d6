"""One list of videos, predicted by many processes and machines."""

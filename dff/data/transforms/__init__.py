"""One draw of cropping, mirroring and colour for all that belongs to a pair."""

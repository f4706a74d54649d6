"""ImageNet VID and DET, and videos of one's own in their layout."""

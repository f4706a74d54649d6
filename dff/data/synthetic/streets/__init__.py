"""Street videos with labels, boxes and true flow, drawn by code."""

"""Flow networks, and flow functions that learn nothing."""

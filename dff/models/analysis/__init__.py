"""What networks cost, and a baseline that propagates nothing."""

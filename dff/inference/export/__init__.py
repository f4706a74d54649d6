"""A trained model as graphs for other runtimes, and the engine on them."""

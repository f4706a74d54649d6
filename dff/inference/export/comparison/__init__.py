"""An export beside the model that it was made from: how far they differ, how fast they are."""

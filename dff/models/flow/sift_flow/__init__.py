"""SIFT Flow: dense descriptors, matched by belief propagation (Liu et al. 2011)."""

"""The data sets that the project reads."""

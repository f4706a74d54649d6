"""Lightning data modules over the data sets."""

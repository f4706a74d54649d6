"""One module for each verb of `dff`; what is heavy is imported once the arguments are read."""

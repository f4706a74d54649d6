"""The tasks: all that is particular to one kind of result, each in one file."""

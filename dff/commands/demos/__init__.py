"""The verbs that draw their data."""

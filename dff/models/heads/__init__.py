"""Task networks: features -> results, and their losses."""

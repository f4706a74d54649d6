"""Pictures, label files and flow files on disk."""

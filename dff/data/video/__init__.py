"""Video files and folders of frames as videos; writing videos."""

"""Per-frame models as they are, cut where Deep Feature Flow propagates."""

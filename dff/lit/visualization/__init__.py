"""Pictures for people and dashboards."""

"""Data that is drawn by code: streets with labels, boxes and flow; pairs with flow."""

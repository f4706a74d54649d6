"""Pairs with exact flow, drawn in the manner of Flying Chairs."""

"""Kept graphs."""

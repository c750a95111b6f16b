"""Signals, and the workers of a distributed run."""

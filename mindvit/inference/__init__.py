"""Evaluation and prediction with weights that are there."""

#!/usr/bin/env python
"""Fuzzes the readers of checkpoints; see README.md."""

from fuzz import run, targets

run(targets.checkpoint)

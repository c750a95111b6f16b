#!/usr/bin/env python
"""Fuzzes configurations and flags; see README.md."""

from fuzz import run, targets

run(targets.config)

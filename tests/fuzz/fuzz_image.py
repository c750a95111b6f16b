#!/usr/bin/env python
"""Fuzzes the reading of image files; see README.md."""

from fuzz import run, targets

run(targets.image)

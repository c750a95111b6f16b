"""Naming images over HTTP: for programs, and on a page for people."""

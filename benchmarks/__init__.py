"""Measurements of mindvit beside other Vision Transformers; benchmarks/README.md says how to read them."""

"""Runs libFuzzer, through atheris, on a target; fuzz_*.py are files of their own because libFuzzer calls them again."""

import sys

import atheris

with atheris.instrument_imports(include=["mindvit", "zipfile", "pickle", "yaml", "PIL"]):
    import targets


def run(target):
    """Fuzzes a function of bytes as the flags of libFuzzer on the command line say."""
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


__all__ = ["run", "targets"]

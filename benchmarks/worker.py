"""The process behind `measure.Worker`: builds one task, then measures a round for each line on stdin."""

import importlib
import json
import os
import resource
import sys
import time

from benchmarks.measure import PACKAGES, ROUND_SECONDS, limit_threads, one_round, versions


def peak_mib():
    """The most memory this process has had resident, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def main(task, threads, arguments):
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr

    def reply(**values):
        print(json.dumps(values), file=replies, flush=True)

    limit_threads(int(threads))
    module, function = task.split(":")
    try:
        call = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:  # a fault, not a library that is not installed
            raise
        return reply(missing=str(error))
    start = time.perf_counter()
    compile_graph = getattr(call, "compile", None)
    if compile_graph:
        compile_graph()
    compiled = time.perf_counter()
    call()
    reply(compile_seconds=compiled - start if compile_graph else None, first_call_seconds=time.perf_counter() - start,
          versions=versions())
    for _ in sys.stdin:
        seconds = one_round(call, ROUND_SECONDS)
        reply(seconds=seconds, peak_mib=peak_mib())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What the benchmarks share: arguments, worker processes measured in turn, tables and records.

Only the standard library is imported at the top, because the workers of other libraries run in other environments.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
RUN_A_FILE = ("onnxruntime", "openvino", "openvino_bfloat16")  # of mindvit's network, which cannot be trained
PEERS = ("tutorial", "mindcv", "timm", *RUN_A_FILE)
ROUND_SECONDS = 0.5  # a round of a worker repeats a short call for this long
PAUSE_SECONDS = 0.3  # between two workers: OpenMP threads of the first go on spinning for up to 0.2 s
SMOKE_SIZES = {"image_size": 32, "patch_size": 16, "embed_dim": 32, "num_layers": 1, "num_heads": 2, "mlp_dim": 64}
PACKAGES = ("mindspore", "mindcv", "timm", "torch", "onnx", "onnxruntime", "openvino", "numpy", "pillow")


class Missing(Exception):
    """A library that a worker needs is not installed."""


def parser(module_doc, repeats=5):
    """The arguments of every benchmark."""
    parser = argparse.ArgumentParser(description=module_doc.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--model", default="vit_b_16", help="a name that `mindvit models` prints, not distilled")
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds; the median is reported (%(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores and threads (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="file for machine, versions, date and all numbers")
    parser.add_argument("--smoke", action="store_true", help="a tiny network and one round: shows that it works")
    return parser


def add_peers(parser, peers):
    """The arguments of benchmarks that compare with other libraries."""
    parser.add_argument("--peers", default=",".join(peers), help=f"comma-separated, of {', '.join(PEERS)}")
    parser.add_argument("--peer-python", metavar="NAME=PATH", action="append", default=[],
                        help="interpreter of the environment that has this peer")


def parse(parser, words):
    """The arguments; `peers` becomes a list and `peer_python` a dict, and --smoke means one round."""
    arguments = parser.parse_args(words)
    if arguments.smoke:
        arguments.repeats, arguments.model = 1, "smoke"
    if arguments.repeats < 1 or arguments.threads < 1:
        parser.error(f"--repeats is {arguments.repeats} and --threads {arguments.threads}; both must be at least 1")
    if "peers" in arguments:
        arguments.peers = [peer for peer in arguments.peers.split(",") if peer]
        arguments.peer_python = dict(pair.split("=", 1) if "=" in pair else (pair, "")
                                     for pair in arguments.peer_python)
        for peer in [*arguments.peers, *arguments.peer_python]:
            if peer not in PEERS:
                parser.error(f"no peer is called {peer!r}; choose from {', '.join(PEERS)}")
        for peer, python in arguments.peer_python.items():
            if not os.access(python, os.X_OK):
                parser.error(f"--peer-python {peer}={python} is not a program; give the environment's bin/python")
    return arguments


def model_sizes(arguments, model=None):
    """The sizes that all peers' networks take, as arguments of `mindvit.ViT`."""
    if arguments.smoke:
        return SMOKE_SIZES
    from mindvit.models import VARIANTS

    model = model or arguments.model
    if model not in VARIANTS or VARIANTS[model].distilled:
        names = [name for name, variant in VARIANTS.items() if not variant.distilled]
        raise SystemExit(f"--model {model} cannot be measured; choose from {', '.join(names)}")
    return {"image_size": 224, **{name: getattr(VARIANTS[model], name) for name in SMOKE_SIZES if name != "image_size"}}


def tokens(sizes):
    """Tokens of one image, class token included."""
    return (sizes["image_size"] // sizes["patch_size"]) ** 2 + 1


def forward_flops(sizes, num_classes=1000):
    """Floating-point operations of the products of one image's forward pass; a training step has three times as many.

    A product of (a, b) and (b, c) counts 2 a b c; norms, activations and softmax count nothing.
    """
    n, d, m = tokens(sizes), sizes["embed_dim"], sizes["mlp_dim"]
    block = n * d * 4 * d + 2 * n * n * d + 2 * n * d * m  # qkv and out, attention, MLP
    return 2 * (sizes["num_layers"] * block + (n - 1) * 3 * sizes["patch_size"] ** 2 * d + d * num_classes)


def limit_threads(threads):
    """Confines this process to so many cores, and libraries that are imported later to so many threads."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def environment():
    """Environment variables of a new process that is to find this repository."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def one_round(call, at_least):
    """Median seconds of a call that is repeated for `at_least` seconds."""
    seconds = []
    while sum(seconds) < at_least:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


class Worker:
    """A process that holds one task and answers each line on its stdin with a round's result, as a line of JSON.

    Args:
        task (str): `module:function`; the function returns the call to be measured.
        threads (int): see `limit_threads`.
        python (str): interpreter, when the task needs another environment.
        **arguments: arguments of the function.

    Attributes:
        ready (dict): `compile_seconds` (None where nothing compiles), `first_call_seconds` (compile and first run) and
            `versions`.

    Raises:
        Missing: a library is not installed.
        RuntimeError: the worker ended; the message has its last lines.
    """

    def __init__(self, task, threads, python=sys.executable, **arguments):
        self.task = task
        self.folder = tempfile.TemporaryDirectory()  # what MindSpore leaves behind is not in the way
        self.errors = open(pathlib.Path(self.folder.name) / "stderr", "w+")
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", task, str(threads), json.dumps(arguments)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, cwd=self.folder.name,
            env=environment())
        try:
            self.ready = self._reply()
        except BaseException:
            self.close()
            raise

    def round(self):
        """Measures one round: {"seconds", "peak_mib"}."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._reply()

    def _reply(self):
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.errors.seek(0)
            raise RuntimeError(f"the worker of {self.task} ended with status {status}:\n{self.errors.read()[-3000:]}")
        reply = json.loads(line)
        if "missing" in reply:
            raise Missing(reply["missing"])
        return reply

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the process."""
        self.process.stdin.close()  # the worker's loop ends
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        self.folder.cleanup()


def measure_in_turn(jobs, repeats):
    """Starts a worker for each job and measures one round of each in turn, so that noise hits all alike.

    Args:
        jobs (dict): name -> arguments of `Worker`.
        repeats (int): rounds.

    Returns:
        dict: name -> {"seconds" (median), "rounds", "peak_mib", and what `Worker.ready` has}, or {"skipped": why} for a
        job whose library is not installed.
    """
    results, workers = {}, {}
    with contextlib.ExitStack() as stack:
        for name, job in jobs.items():
            try:
                workers[name] = stack.enter_context(Worker(**job))
                results[name] = {"rounds": [], **workers[name].ready}
            except Missing as error:
                results[name] = {"skipped": str(error)}
        for _ in range(repeats):
            for name, worker in workers.items():
                time.sleep(PAUSE_SECONDS)
                answer = worker.round()
                results[name]["rounds"].append(answer["seconds"])
                results[name]["peak_mib"] = answer["peak_mib"]
    for name in workers:
        results[name]["seconds"] = statistics.median(results[name]["rounds"])
    return results


def versions():
    """Versions of the libraries in this process's environment."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def machine():
    """What a reader of a record must know about where it was made."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return {"processor": model, "cores": os.cpu_count(), "load_average": os.getloadavg()[0],
            "system": platform.platform(), "python": platform.python_version()}


def print_table(headers, rows):
    """A table on stdout, the first columns left-aligned if they hold words; None is a dash."""
    def text(value):
        if isinstance(value, float):
            return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
        return "-" if value is None else str(value)

    cells = [list(map(text, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells)]
    words = [all(isinstance(row[i], str) for row in rows) for i in range(len(headers))]
    for line in [list(headers), ["-" * width for width in widths], *cells]:
        print("  ".join(cell.ljust(width) if word else cell.rjust(width)
                        for cell, width, word in zip(line, widths, words)).rstrip())
    sys.stdout.flush()


def write_record(arguments, results):
    """Writes --json FILE, if asked for: date, machine, versions, arguments but for paths, results."""
    if arguments.json:
        from mindvit.files import replacing

        paths = ("json", "peer_python", "pytorch", "folder", "mnist")
        told = {name: value for name, value in vars(arguments).items() if name not in paths}
        record = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                  "machine": machine(), "versions": versions(), "arguments": told, "results": results}
        with replacing(arguments.json) as path:
            path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"wrote {arguments.json}", flush=True)

"""Seconds until work begins: import, graph compile, and a whole process that predicts one picture.

python -m benchmarks.startup --peers tutorial,timm --peer-python timm=PATH
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import measure

MODULES = {"mindvit": "mindvit", "tutorial": "benchmarks.tutorial_vit", "timm": "timm"}


def run(command, folder):
    """Wall seconds of a command."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=measure.environment(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
    return time.perf_counter() - start


def first_seconds(name, sizes, arguments, train):
    """(compile, compile and first run) of a new process."""
    with measure.Worker(f"benchmarks.networks:{name}", arguments.threads, sizes=sizes, batch=arguments.batch,
                        train=train) as worker:
        return worker.ready["compile_seconds"], worker.ready["first_call_seconds"]


def prediction_commands(names, sizes, arguments, folder):
    """{name: command} of predicting one picture with the same random weights, all files in the folder."""
    import numpy as np
    from PIL import Image

    import mindvit

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (375, 500, 3), np.uint8)).save(folder / "picture.jpg")
    network = mindvit.ViT(**sizes)
    mindvit.save_weights(network, folder / "vit.ckpt")
    mindvit.save_weights(network, folder / "vit.safetensors", "timm")
    model = ["--model.overrides", json.dumps(sizes)] if arguments.smoke else ["--model.name", arguments.model]
    commands = {"mindvit": [sys.executable, "-m", "mindvit", "predict", "picture.jpg", "--checkpoint", "vit.ckpt",
                            *model]}
    for backend in measure.RUN_A_FILE:
        if backend in names:
            name, _, precision = backend.partition("_")
            words = ["--backend", name] + ["--backend_precision", precision] * bool(precision)
            commands[backend] = [*commands["mindvit"], *words]
    if "timm" in names:
        commands["timm"] = [arguments.peer_python.get("timm", sys.executable), "-m", "benchmarks.timm_predict",
                            json.dumps(sizes), "vit.safetensors", "picture.jpg", "timm.jpg"]
    return commands


def main(words=None):
    parser = measure.parser(__doc__, repeats=3)
    measure.add_peers(parser, ["tutorial"])
    parser.add_argument("--batch", type=int, default=8, help="images of the compiled graphs (%(default)s)")
    parser.add_argument("--predict", action="store_true", help="time the whole predictions alone")
    arguments = measure.parse(parser, words)
    measure.limit_threads(arguments.threads)
    sizes = measure.model_sizes(arguments)
    names = ["mindvit"] + [name for name in ("tutorial", "timm", *measure.RUN_A_FILE) if name in arguments.peers]
    if "timm" in names and subprocess.run([arguments.peer_python.get("timm", sys.executable), "-c", "import timm"],
                                          capture_output=True).returncode:
        print("skipped timm: it cannot be imported; give --peer-python timm=PATH")
        names.remove("timm")

    seconds = {}

    def record(what, name, value):
        seconds.setdefault(what, {}).setdefault(name, []).append(value)

    with tempfile.TemporaryDirectory() as folder:
        commands = prediction_commands(names, sizes, arguments, pathlib.Path(folder))
        for _ in range(arguments.repeats):
            for name, command in commands.items():
                record("predict one picture", name, run(command, folder))
            if arguments.predict:
                continue
            for name in filter(MODULES.get, names):
                python = arguments.peer_python.get(name, sys.executable)
                record("import", name, run([python, "-c", f"import {MODULES[name]}"], folder))
            for train in (False, True):
                step = "training step" if train else "forward"
                for name in filter(("mindvit", "tutorial").__contains__, names):  # the others compile nothing
                    compiled, first = first_seconds(name, sizes, arguments, train)
                    record(f"compile {step}", name, compiled)
                    record(f"first {step}", name, first)
    results = {what: {name: {"seconds": statistics.median(values), "rounds": values} for name, values in row.items()}
               for what, row in seconds.items()}
    rows = []
    for what, row in results.items():
        took = [row[name]["seconds"] if name in row else None for name in names]
        rows.append((what, *took, *(took[0] / peer if peer else None for peer in took[1:])))
    measure.print_table(("seconds", *names, *(f"share of {name}" for name in names[1:])), rows)
    measure.write_record(arguments, results)


if __name__ == "__main__":
    main()

"""Memory of training by images a step, beside the formula of docs/scaling.md: measured on the CPU in its own forms and
in those that Ascend and GPU get, with recompute and without; counted in the graphs of the latter, also under O2.

python -m benchmarks.activations --json benchmarks/results/activations.json
"""

import json
import subprocess
import sys

from mindspore.nn.utils import no_init_parameters

from benchmarks import measure
from mindvit.models import ViT
from mindvit.summary import activation_bytes

# forms: (what is measured, level and recompute of the graph that is counted)
FORMS = {"the CPU's": ("mindvit", None), "native": ("native_forms", ("O0", False)),
         "native, recompute": ("recomputed", ("O0", True)), "native, O2": (None, ("O2", False)),
         "native, O2, recompute": (None, ("O2", True))}
COUNTED = [128, 256]  # images a step, enough that what does not grow with them is not in the peak's way


def counted(sizes, level, recompute):
    """Bytes for each image of a step by `benchmarks.liveness`."""
    task = {"sizes": sizes, "batches": COUNTED, "level": level, "recompute": recompute}
    done = subprocess.run([sys.executable, "-m", "benchmarks.liveness", json.dumps(task)], text=True, check=True,
                          stdout=subprocess.PIPE, env=measure.environment())
    peaks = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    return (peaks[1] - peaks[0]) / (COUNTED[1] - COUNTED[0])


def measured(arguments, sizes, task, batches):
    """The peaks of processes that take such steps, in MiB."""
    peaks = []
    for batch in batches:  # one at a time: memory is what is measured
        job = {"task": f"benchmarks.networks:{task}", "threads": arguments.threads, "sizes": sizes, "batch": batch,
               "train": True}
        peaks.append(measure.measure_in_turn({task: job}, arguments.repeats)[task]["peak_mib"])
    return peaks


def main(words=None):
    parser = measure.parser(__doc__, repeats=1)
    parser.add_argument("--models", default="vit_t_16,vit_s_16,vit_b_16", help="names, with commas (%(default)s)")
    parser.add_argument("--batches", default="2,6", help="two numbers of images a measured step (%(default)s)")
    arguments = measure.parse(parser, words)
    batches = [1, 2] if arguments.smoke else [int(batch) for batch in arguments.batches.split(",")]
    results, rows = [], []
    for model in ["smoke"] if arguments.smoke else arguments.models.split(","):
        sizes = measure.model_sizes(arguments, model)
        with no_init_parameters():
            network = ViT(**sizes)
        for forms, (task, graph) in FORMS.items():
            row = {"model": model, "forms": forms,
                   "formula": activation_bytes(network, *(graph or ("O0", False))) / 2**20}
            if graph:
                row["counted"] = counted(sizes, *graph) / 2**20
            if task:
                peaks = measured(arguments, sizes, task, batches)
                row |= {"batches": batches, "peak_mib": peaks,
                        "measured": (peaks[1] - peaks[0]) / (batches[1] - batches[0])}
            results.append(row)
            rows.append((model, forms, *(row.get(name) for name in ("measured", "counted", "formula"))))
            measure.write_record(arguments, results)
    measure.print_table(("model", "forms", "MiB an image", "counted", "by formula"), rows)


if __name__ == "__main__":
    main()

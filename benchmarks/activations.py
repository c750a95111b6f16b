"""Memory of training by images a step, beside the formula of docs/scaling.md: in the CPU's forms, in those that Ascend
and GPU get, and in these with recompute.

python -m benchmarks.activations --json benchmarks/results/activations.json
"""

from benchmarks import measure

TASKS = {"the CPU's": "mindvit", "native": "native_forms", "native, recompute": "recomputed"}


def formula(sizes, recompute):
    """Bytes in float32 that docs/scaling.md counts for each image of a step."""
    tokens, width = measure.tokens(sizes), sizes["embed_dim"]
    block = tokens * (8 * width + 2 * sizes["mlp_dim"]) + sizes["num_heads"] * tokens**2
    return 4 * (sizes["num_layers"] * tokens * width + block if recompute else sizes["num_layers"] * block)


def main(words=None):
    parser = measure.parser(__doc__, repeats=1)
    parser.add_argument("--models", default="vit_t_16,vit_s_16,vit_b_16", help="names, with commas (%(default)s)")
    parser.add_argument("--batches", default="4,12", help="two numbers of images a step (%(default)s)")
    arguments = measure.parse(parser, words)
    batches = [1, 2] if arguments.smoke else [int(batch) for batch in arguments.batches.split(",")]
    results, rows = [], []
    for model in ["smoke"] if arguments.smoke else arguments.models.split(","):
        sizes = measure.model_sizes(arguments, model)
        for forms, task in TASKS.items():
            peaks = []
            for batch in batches:  # one at a time: memory is what is measured
                job = {"task": f"benchmarks.networks:{task}", "threads": arguments.threads, "sizes": sizes,
                       "batch": batch, "train": True}
                peaks.append(measure.measure_in_turn({forms: job}, arguments.repeats)[forms]["peak_mib"])
            measured = (peaks[1] - peaks[0]) / (batches[1] - batches[0])
            counted = formula(sizes, task == "recomputed") / 2**20
            results.append({"model": model, "forms": forms, "batches": batches, "peak_mib": peaks,
                            "mib_an_image": measured, "formula": counted})
            rows.append((model, forms, *peaks, measured, counted))
            measure.write_record(arguments, results)
    measure.print_table(("model", "forms", *(f"MiB at {batch}" for batch in batches), "an image", "by formula"), rows)


if __name__ == "__main__":
    main()

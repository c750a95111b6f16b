"""The stored checkpoints of each library, with inputs and logits of its own network (tests/data)."""

import json
from pathlib import Path

import mindspore as ms
import numpy as np

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "cases.json").read_text())
CASES |= {"mindvision_tiny": {}, "mindvision_tiny_representation": {}}


def case_file(case):
    return next(str(path) for path in DATA.glob(f"{case}.*") if path.suffix != ".json" and ".io" not in path.name)


def case_arguments(case):
    """What the files of these untypical sizes do not tell: 32 wide tokens belong to no known variant."""
    arguments = {} if case == "google_vit" else {"num_heads": 4}
    if "rectangular" in CASES[case]:
        arguments["image_size"] = tuple(CASES[case]["rectangular"])
    return arguments


def values(network):
    return {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def logits_error(network, case):
    example = np.load(DATA / f"{case}.io.npz")
    error = np.abs(network(ms.Tensor(example["input"])).asnumpy() - example["logits"]).max()
    return error / np.ptp(example["logits"])

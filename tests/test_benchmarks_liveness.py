"""The count of memory in a graph, and the formula of docs/scaling.md beside the counts of the record."""

import importlib
import json
import pathlib
import sys

import pytest

from mindvit import ViT
from mindvit.summary import activation_bytes

sys.path.append(str(pathlib.Path(__file__).parents[1]))  # benchmarks/ is not part of the installed package
liveness = importlib.import_module("benchmarks.liveness")
activations = importlib.import_module("benchmarks.activations")

# operator, inputs, output; bytes beside it
GRAPH = [
    ("Load", "%para1_weight, U", "<Tensor[Float32], (10, 10)>"),  # a parameter: 0
    ("PrimFunc_MatMul", "%para2_x, %0, Bool(0), Bool(1)", "<Tensor[Float32], (5, 10)>"),  # 200
    ("PrimFunc_Reshape", "%1, (I64(10), I64(5))", "<Tensor[Float32], (10, 5)>"),  # the same 200
    ("PrimFunc_Split", "%2, I64(0), I64(2)", "<Tuple[Tensor[Float32]*2], TupleShape((5, 5), (5, 5))>"),  # 200: the peak
    ("PrimFunc_Cast", "%1, I64(42)", "<Tensor[Float16], (5, 10)>"),  # 100, before the Split, and gone then
    ("TupleGetItem", "%3, I64(1)", "<Tensor[Float32], (5, 5)>"),  # 100 of the 200
    ("Depend", "%5, %4", "<Tensor[Float32], (5, 5)>"),  # the same
    ("PrimFunc_Exp", "%6", "<Tensor[Float32], (5, 5)>"),  # 100
    ("Return", "%7", "<Tensor[Float32], (5, 5)>"),
]


def test_a_tensor_lives_until_its_last_use():
    lines = [f"  %{i}(CNode_{i}) = {operator}({inputs}) primitive_attrs: {{a: (%9)}}\n      : (<>) -> ({output})\n"
             for i, (operator, inputs, output) in enumerate(GRAPH)]
    assert liveness.peak_bytes("# Params:\n\nsubgraph @f() {\n" + "".join(lines) + "}\n") == 400


def test_nodes_go_in_the_order_in_which_they_become_ready():
    assert liveness.in_order({0: [], 1: [0], 2: [1], 3: [], 4: [0, 3]}) == [0, 3, 1, 4, 2]


def test_the_formula_is_what_was_counted():
    record = json.loads((activations.measure.ROOT / "benchmarks/results/activations.json").read_text())
    counted = [row for row in record["results"] if "counted" in row]
    assert len(counted) == 12
    for row in counted:
        level, recompute = ("O2" if "O2" in row["forms"] else "O0"), "recompute" in row["forms"]
        sizes = activations.measure.model_sizes(type("", (), {"smoke": False}), row["model"])
        assert row["formula"] == pytest.approx(activation_bytes(ViT(**sizes), level, recompute) / 2**20)
        assert row["formula"] == pytest.approx(row["counted"], rel=0.01)


"""Memory of the tensors that live at a time in a training step, or a forward pass, counted in the graph that a device
would get.

Nothing is run: each tensor lives from its operator to its last use, operators go in the order in which they become
ready ("bfs", MindSpore's default), and what the kernels hold for themselves is not there. Weights do not count.
"""

import collections
import itertools
import json
import math
import os
import pathlib
import re
import sys
import tempfile

BYTES = {"Bool": 1, "Float16": 2, "Float32": 4, "Int32": 4, "Int64": 8}
NO_COPY = {"Depend", "Load", "Reshape", "Return", "UpdateState"}  # give their first input
NODE = re.compile(r"^  %(\d+)\(.*?\) = (?:PrimFunc_)?(\w+)\((.*)\n +: \(.*\) -> \((.*)\)$", re.MULTILINE)


def tensors(kind):
    """Bytes of each tensor of an output in MindSpore's text form; none of a parameter, which is changed in place."""
    if kind.startswith("<Tuple"):
        types = [[name] * int(times or 1) for name, times in re.findall(r"Tensor\[(\w+)\](?:\*(\d+))?", kind)]
        shapes = re.findall(r"\(([\d, ]*)\)", kind.partition("TupleShape(")[2])
        found = zip(itertools.chain(*types), shapes)
    else:
        found = re.findall(r"^<Tensor\[(\w+)\], \(([\d, ]*)\)", kind)
    return [BYTES[name] * math.prod(map(int, re.findall(r"\d+", shape))) for name, shape in found]


def in_order(inputs):
    """The nodes in the order in which they become ready, first in, first out."""
    users, missing = collections.defaultdict(list), {node: len(set(its)) for node, its in inputs.items()}
    for node, its in inputs.items():
        for one in set(its):
            users[one].append(node)
    order = [node for node, count in missing.items() if not count]
    for node in order:  # which grows
        for user in users[node]:
            missing[user] -= 1
            if not missing[user]:
                order.append(user)
    return order


def peak_bytes(text):
    """The most bytes that live at a time in a graph in MindSpore's text form, one without branches."""
    nodes = {int(node): rest for node, *rest in NODE.findall(text[text.index("\nsubgraph"):])}
    inputs, held, made = {}, {}, {}  # by node; held: for each of its outputs the (node, output) whose memory it is
    for node, (operator, rest, kind) in nodes.items():
        words = rest.partition("_attrs: ")[0]
        its = inputs[node] = [int(word) for word in re.findall(r"%(\d+)\b", words)]
        if operator == "TupleGetItem":
            held[node] = [held[its[0]][int(re.search(r"I64\((\d+)\)\)", words)[1])]] if held[its[0]] else []
        elif operator == "MakeTuple":
            held[node] = [{place for places in held[one] for place in places} for one in its]
        elif operator in NO_COPY:
            held[node] = held[its[0]] if re.match(r"%\d+\b", rest) else []
        else:
            made[node] = tensors(kind)
            held[node] = [{(node, output)} for output in range(len(made[node]))]
    order, last = [node for node in in_order(inputs) if node in made], {}
    for time, node in enumerate(order):
        for place in itertools.chain(*held[node], *(places for one in inputs[node] for places in held[one])):
            last[place] = time
    ends = collections.Counter()
    for (node, output), time in last.items():
        ends[time] += made[node][output]
    live = most = 0
    for time, node in enumerate(order):
        live += sum(made[node])
        most = max(most, live)
        live -= ends[time]
    return most


def main(sizes, batches, recompute, level, train=True):
    folder = tempfile.TemporaryDirectory()
    os.environ.update(MS_DEV_SAVE_GRAPHS="1", MS_DEV_SAVE_GRAPHS_PATH=folder.name, MS_DEV_DUMP_IR_PASSES="validate")
    from mindspore import nn
    from mindspore.common.api import _cell_graph_executor
    from mindspore.nn.utils import no_init_parameters

    from benchmarks import networks

    nn.Cell.init_parameters_data = lambda self, auto_parallel_mode=False: {}  # values nobody reads
    with folder, no_init_parameters():
        for batch in batches:
            call = networks.native_forms(sizes, batch, train, recompute, level)
            # as for an export, whose compilation ends before the backend's part
            _cell_graph_executor.compile(call.cell, *call.inputs, phase=f"export.{batch}", do_convert=False)
            [file] = pathlib.Path(folder.name).glob("*validate*.ir")
            print(peak_bytes(file.read_text()), flush=True)
            file.unlink()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))

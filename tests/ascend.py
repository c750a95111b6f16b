"""The operators of compiled graphs in the forms that Ascend gets, and where MindSpore documents that Ascend has them.

Runs on a CPU: the graphs are those that MindSpore's compiler hands to a backend; no backend sees them here. In this
folder `python ascend.py` prints the operators of every variant, cut to two blocks: data/ascend_operators.txt.
"""

import collections
import dataclasses
import inspect
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FILE = pathlib.Path(__file__).parent / "data/ascend_operators.txt"
HEADER = ("# Operators of the graphs that Ascend gets: operator, where its documentation stands, the graphs.\n"
          "# Renew with: cd tests && python ascend.py > data/ascend_operators.txt\n")
DROPS = {"keep_prob": 0.9, "attention_keep_prob": 0.9, "drop_path_keep_prob": 0.9, "embed_keep_prob": 0.9}
# What an operator without documentation of its own comes from, which has one.
STANDS_FOR = {
    "AddScalar": "ops.add",  # by a Python number; so are the others in Scalar or s
    "AllFinite": "amp.all_finite",  # one operator for all gradients, where Ascend has it
    "BiasAddGrad": "ops.BiasAdd",
    "Conv2DBackpropFilter": "ops.Conv2D",
    "Divs": "ops.div",
    "DropoutGrad": "ops.Dropout",
    "EqScalar": "ops.equal",
    "GeLUGrad": "ops.GeLU",
    "GreaterEqualScalar": "ops.greater_equal",
    "GreaterScalar": "ops.greater",
    "InplaceAddExt": "mint.add",  # a sum of gradients in place
    "LayerNormGrad": "ops.LayerNorm",
    "LessScalar": "ops.less",
    "Muls": "ops.mul",
    "RemainderTensorScalar": "mint.remainder",
    "ReluGrad": "ops.ReLU",
    "SigmoidGrad": "ops.Sigmoid",
    "SoftmaxBackward": "ops.Softmax",
    "SplitWithSize": "ops.split",  # the gradient of Concat
    "StridedSliceGrad": "ops.StridedSlice",
    "Subs": "ops.sub",
    "SumExt": "mint.sum",
    "TanhGrad": "ops.Tanh",
    "TensorMove": "ops.assign",  # a parameter's value from before its assignment
}
# The graph's own, which no device computes.
STRUCTURE = {"Depend", "Load", "MakeTuple", "Partial", "Return", "Switch", "TupleGetItem", "UpdateState"}


def read_graph(text):
    """(operators, types) of a graph in MindSpore's text form.

    Raises:
        ValueError: a line of it is not understood.
    """
    operators = set()
    for line in text.splitlines():
        if node := re.match(r" +%\d+\(.*?\) = (.*)", line):
            name = re.match(r"(?:PrimFunc_)?([A-Z]\w*)\(", node[1])
            if not name and not re.match(r"call |%\d+\[@|%\w+\(|@\w+\(", node[1]):
                raise ValueError(f"no operator in {line[:120]!r}")
            if name:
                operators.add(name[1])
    types = re.findall(r"^ +: (\(.*\) -> \(.*\))", text, re.MULTILINE) + re.findall(r"^%para.*", text, re.MULTILINE)
    return operators - STRUCTURE, types


def forbidden(types):
    """Those of the types with a float64 tensor or a dynamic shape (-1 for a length, -2 for a rank).

    A lone number may be float64: MindSpore's gradient of Erf multiplies float16 by 2/sqrt(pi) as one.
    """
    return [line for line in types if re.search(r"Tensor\[Float64\]|[(,] ?-[12][,)]", line)]


def documentation(operator):
    """(where, platforms) of the documentation of an operator, following 'Refer to'; (None, "") where there is none."""
    import mindspore
    from mindspore.ops import auto_generate

    place = STANDS_FOR.get(operator, f"ops.{operator}")
    for _ in range(3):
        thing = mindspore
        for name in place.split("."):
            thing = getattr(thing, name, None)
        if thing is None:  # documented, but for MindSpore's own use
            thing = getattr(auto_generate, place.removeprefix("ops."), None)
        text = inspect.getdoc(thing) or "" if thing is not None else ""
        if platforms := re.search(r"Supported Platforms:\s+(``.*)", text):
            return place, platforms[1]
        if not (other := re.search(r"Refer to :func:`mindspore\.([\w.]+)`", text)):
            break
        place = other[1]
    return None, ""


def variants(num_layers):
    """{name: arguments of `create_model`}, one of those that differ in nothing but their name."""
    from mindvit.models.variants import VARIANTS

    rows = {dataclasses.replace(row, timm_name="", public_files={}).__repr__(): name
            for name, row in reversed(VARIANTS.items())}
    sizes = {"num_layers": num_layers} if num_layers else {}
    return {name: {**sizes, "num_classes": 10} for name in rows.values()}


# Other networks and steps: (arguments of ViT, optimizer, options of the loss, of the step).
TINY = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_layers": 2, "num_heads": 2, "mlp_dim": 64,
        "num_classes": 10}
ACCUMULATE = {"accumulate": 2, "steps_per_epoch": 4}
OTHERS = {
    "adam": (TINY | {"pool": "mean", "activation": "gelu"}, "adam", {}, ACCUMULATE),
    "lion": (TINY | {"pool": "mean_all", "patch_norm": True, "activation": "quick_gelu", "pos_embedding": "sincos2d"},
             "lion", {"kind": "binary_cross_entropy"}, ACCUMULATE),
    "lamb": (TINY | {"activation": "relu", "representation_size": 16}, "lamb", {"sparse": False}, {}),
    "flash": (TINY | {"head_dim": 8, "attention_keep_prob": 1.0}, "adamw", {}, {}),  # the fused operator, heads filled
    "recompute": (TINY, "adamw", {}, {}),  # the blocks' activations, again in the backward pass
    "saturation": (TINY, "sgd", {}, {}),  # the overflow check of the first generation's saturation mode
}


def kind_of(name):
    """What the graphs of a network are called in the file: nothing for the published ViTs, which all have the same."""
    return name if name in (*OTHERS, "digits") else "distilled" if "distilled" in name else ""


def compile_graphs(name, arguments, optimizer, loss, step, folder):
    """Writes the graphs of forward and training to the folder; returns (operators, types) of each by its name."""
    import numpy as np
    from mindspore import Tensor, amp
    from mindspore.common.api import _cell_graph_executor

    from mindvit import ViT, create_model, kernels
    from mindvit.config import TrainConfig
    from mindvit.device import Device, build_model
    from mindvit.optim.optimizers import build_optimizer
    from mindvit.training.loss import LOSSES, CountedLoss

    amp._ascend_910a_target = lambda: "saturation" in name
    kernels.flash_attention = name == "flash"
    kind, loss = loss.get("kind", "cross_entropy"), {key: value for key, value in loss.items() if key != "kind"}
    arguments = DROPS | arguments
    network = ViT(**arguments) if name in OTHERS else create_model(name, **arguments)
    device = Device("Ascend", "O2", True)
    weight_decay = 0.0 if optimizer == "adam" else 0.05
    moves = build_optimizer(TrainConfig(optimizer=optimizer, weight_decay=weight_decay), network.trainable_params(),
                            [1e-3] * 8, network.arguments["num_layers"])
    counted = CountedLoss(LOSSES[kind](num_classes=10, smooth_factor=0.1, **loss))
    training = build_model(network.set_train(), device, counted, moves, loss_scale="dynamic", clip_norm=1.0, ema=0.9,
                           **step).step.set_train()
    for block in network.transformer.layers if name == "recompute" else ():
        block.recompute()
    images = Tensor(np.zeros((2, 3, *network.patch_embedding.image_size), np.float32))
    labels = Tensor(np.zeros((2,) if loss.get("sparse", True) else (2, 10), np.int32 if loss.get("sparse", True)
                             else np.float32))
    forward = build_model(network, device).predict_network
    found = {}
    for graph, cell, inputs in (("training", training, (images, labels)), ("forward", forward, (images,))):
        if graph == "forward":
            cell.set_train(False)
        for old in folder.glob("*validate*.ir"):
            old.unlink()
        # as for an export, whose compilation ends before the backend's part
        _cell_graph_executor.compile(cell, *inputs, phase=f"export.{name}.{graph}", do_convert=False)
        [file] = folder.glob("*validate*.ir")
        found[graph] = read_graph(file.read_text())
    return found


def operators(names, num_layers=2):
    """{operator: names of the graphs that have it} of variants and OTHERS, compiled in this process, which must be new.

    Raises:
        ValueError: a graph has float64 or a dynamic shape.
    """
    folder = tempfile.TemporaryDirectory()
    os.environ.update(MS_DEV_SAVE_GRAPHS="1", MS_DEV_SAVE_GRAPHS_PATH=folder.name, MS_DEV_DUMP_IR_PASSES="validate",
                      GLOG_v="3")
    import mindspore as ms
    import numpy as np
    from mindspore import Parameter, amp, nn
    from mindspore.nn.utils import no_init_parameters

    from mindvit import kernels

    # What asks for the device gets Ascend's answer.
    kernels.on_cpu = lambda: False
    amp._ascend_target = lambda: True
    amp._ascend_910b_target = lambda: True
    amp._enable_all_finite = lambda: True
    # No gigabytes of values nobody reads.
    nn.Cell.init_parameters_data = lambda self, auto_parallel_mode=False: {}
    Parameter.asnumpy = lambda self: np.zeros(self.shape, np.float32)
    Parameter.set_data = lambda self, data, slice_shape=False: self
    ms.set_context(mode=ms.GRAPH_MODE)
    found, sizes = collections.defaultdict(set), variants(num_layers)
    with folder, no_init_parameters():
        for name in names:
            case = OTHERS[name] if name in OTHERS else (sizes[name], "adamw", {}, {} if num_layers else ACCUMULATE)
            for graph, (its_operators, types) in compile_graphs(name, *case, pathlib.Path(folder.name)).items():
                if wrong := forbidden(types):
                    raise ValueError(f"{name}, {graph}: {wrong[:3]}")
                where = f"{kind_of(name)} {graph}".strip()
                for operator in its_operators:
                    found[operator].add(where)
    return found


def in_words(found):
    """The lines of the file."""
    return "".join(f"{operator:28} {str(documentation(operator)[0]):34} {', '.join(sorted(graphs))}\n"
                   for operator, graphs in sorted(found.items()))


def in_new_process(*names, full=False):
    """The lines for these variants and OTHERS."""
    options = ["full"] if full else []
    here = pathlib.Path(__file__)
    paths = os.pathsep.join([str(here.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, here, *options, *names], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.removeprefix(HEADER)


if __name__ == "__main__":
    full = sys.argv[1:2] == ["full"]
    print(HEADER + in_words(operators(sys.argv[1 + full:] or [*variants(2), *OTHERS], 0 if full else 2)), end="")

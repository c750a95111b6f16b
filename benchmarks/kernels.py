"""Milliseconds of each operation of a ViT in its native and in mindvit's form, forward and with gradient.

python -m benchmarks.kernels --batch 8
"""

import pathlib
import resource
import statistics
import time

from benchmarks import measure
from benchmarks.networks import graph_mode

ROUND_SECONDS = 0.1  # operations take milliseconds
SLOW_SECONDS = 5  # a call that takes longer is measured once


def operations(sizes, batch):
    """(operation, form, cell or function, shapes of its inputs) for each line."""
    from mindspore import nn, ops

    from benchmarks import tutorial_vit
    from mindvit import Attention, kernels

    n, d, m, h = measure.tokens(sizes), sizes["embed_dim"], sizes["mlp_dim"], sizes["num_heads"]
    image, patch = sizes["image_size"], sizes["patch_size"]
    rows, x, hidden = batch * n, (batch, n, d), (batch, n, m)

    def softmax(x):
        return ops.softmax(x, -1)

    def swap_tokens_and_heads(x):
        return x.transpose(0, 2, 1, 3)

    for name, a, b in (("qkv", d, 3 * d), ("out", d, d), ("dense1", d, m), ("dense2", m, d)):
        yield f"product {name}", "MatMul", ops.matmul, [(rows, a), (a, b)]
    yield "dense1", "native", nn.Dense(d, m), [x]
    yield "dense1", "mindvit", kernels.kernel("dense")(d, m, "normal", "zeros"), [x]
    yield "bias of dense1", "native", ops.bias_add, [(rows, m), (m,)]
    yield "bias of dense1", "Add", ops.add, [(rows, m), (m,)]
    yield "bias of dense1", "mindvit", kernels.cpu.BiasAdd(), [(rows, m), (m,)]
    yield "LayerNorm", "native", nn.LayerNorm((d,)), [x]
    yield "LayerNorm", "mindvit", kernels.kernel("layer_norm")((d,)), [x]
    yield "GELU, tanh", "native", nn.GELU(), [hidden]
    yield "GELU, tanh", "mindvit", kernels.GELU(), [hidden]
    yield "GELU, erf", "native", nn.GELU(approximate=False), [hidden]
    yield "GELU, erf", "mindvit", kernels.GELU(approximate=False), [hidden]
    yield "softmax", "native", softmax, [(batch, h, n, n)]
    yield "softmax", "mindvit", kernels.kernel("softmax")(), [(batch, h, n, n)]
    yield "split heads", "Transpose", swap_tokens_and_heads, [(batch, n, 3 * h, d // h)]
    yield "split heads", "mindvit", kernels.kernel("split_heads")(3 * h), [(batch, n, 3 * d)]
    yield "merge heads", "Transpose", swap_tokens_and_heads, [(batch, h, n, d // h)]
    yield "merge heads", "mindvit", kernels.kernel("merge_heads")(h), [(batch, h, n, d // h)]
    yield "attention", "tutorial", tutorial_vit.Attention(d, h), [x]
    yield "attention", "mindvit", Attention(d, h).set_train(), [x]
    images = (batch, 3, image, image)
    yield "patches", "tutorial, Conv2d", tutorial_vit.PatchEmbedding(patch, d), [images]
    yield "patches", "mindvit", kernels.kernel("patch_product")(3, d, (patch, patch), "normal", "zeros"), [images]


def resident_mib():
    """Memory of this process, in MiB; 0 where the system does not say."""
    statm = pathlib.Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20 if statm.exists() else 0.0


def compiled_calls(function, shapes):
    """The calls {"forward", "gradient"}, and {"first_ms", "first_mib"}: what the first call of the gradient took.

    The gradient is that of inputs and parameters, and includes the forward.
    """
    import mindspore as ms
    import numpy as np
    from mindspore import nn, ops

    class Forward(nn.Cell):
        def __init__(self):
            super().__init__()
            self.function = function

        def construct(self, *inputs):
            return self.function(*inputs)

    class Gradient(nn.Cell):
        def __init__(self, network):
            super().__init__()
            self.network = network
            self.parameters = ms.ParameterTuple(network.trainable_params())
            self.gradient = ops.GradOperation(get_all=True, get_by_list=bool(self.parameters), sens_param=True)

        def construct(self, *inputs):
            if self.parameters:
                return self.gradient(self.network, self.parameters)(*inputs)
            return self.gradient(self.network)(*inputs)

    rng = np.random.default_rng(0)
    inputs = [ms.Tensor(rng.standard_normal(shape, np.float32)) for shape in shapes]
    forward = Forward()
    gradient = Gradient(forward)
    sens = ms.Tensor(rng.standard_normal(forward(*inputs).shape, np.float32))
    before, start = resident_mib(), time.perf_counter()
    results = gradient(*inputs, sens)
    first = {"first_ms": (time.perf_counter() - start) * 1e3, "first_mib": resident_mib() - before}
    del results
    return {"forward": lambda: forward(*inputs), "gradient": lambda: gradient(*inputs, sens)}, first


def milliseconds(call, repeats):
    """Median of so many rounds; of one call if it is slow."""
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    if once > SLOW_SECONDS:
        return once * 1e3
    return statistics.median(measure.one_round(call, ROUND_SECONDS) for _ in range(repeats)) * 1e3


def main(words=None):
    parser = measure.parser(__doc__, repeats=3)
    parser.add_argument("--batch", type=int, default=8, help="images (%(default)s)")
    arguments = measure.parse(parser, words)
    measure.limit_threads(arguments.threads)
    graph_mode()
    sizes, results = measure.model_sizes(arguments), []
    for operation, form, function, shapes in operations(sizes, arguments.batch):
        calls, first = compiled_calls(function, shapes)
        times = {f"{name}_ms": milliseconds(call, arguments.repeats) for name, call in calls.items()}
        results.append({"operation": operation, "form": form, "shapes": shapes, **times, **first})
    measure.print_table(("operation", "form", "input", "forward ms", "with gradient ms", "first call ms", "MiB"),
                        [(row["operation"], row["form"], str(row["shapes"][0]), row["forward_ms"], row["gradient_ms"],
                          row["first_ms"], row["first_mib"]) for row in results])
    measure.write_record(arguments, results)


if __name__ == "__main__":
    main()

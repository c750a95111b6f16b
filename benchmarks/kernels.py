"""Milliseconds of each operation of a ViT in its native and in mindvit's form, forward and with gradient.

python -m benchmarks.kernels --batch 8
"""

import statistics
import time

from benchmarks import measure
from benchmarks.networks import graph_mode

ROUND_SECONDS = 0.1  # operations take milliseconds
SLOW_SECONDS = 5  # a call that takes longer is measured once


def operations(sizes, batch):
    """(operation, form, cell or function, shapes of its inputs, whether a gradient is measured) for each line."""
    from mindspore import nn, ops

    from benchmarks import tutorial_vit
    from mindvit.models import Attention, kernels

    n, d, m, h = measure.tokens(sizes), sizes["embed_dim"], sizes["mlp_dim"], sizes["num_heads"]
    image, patch = sizes["image_size"], sizes["patch_size"]
    rows, x, hidden, heads = batch * n, (batch, n, d), (batch, n, m), (batch, h, n, d // h)

    def softmax(x):
        return ops.softmax(x, -1)

    def swap_tokens_and_heads(x):
        return x.transpose(0, 2, 1, 3)

    def turn(x):
        return x.transpose(0, 1, 3, 2)

    for name, a, b in (("qkv", d, 3 * d), ("out", d, d), ("dense1", d, m), ("dense2", m, d)):
        yield f"product {name}", "MatMul", ops.matmul, [(rows, a), (a, b)], True
    yield "bias of dense1", "BiasAdd", ops.bias_add, [(rows, m), (m,)], True
    yield "bias of dense1", "Add", ops.add, [(rows, m), (m,)], True
    yield "LayerNorm", "native", nn.LayerNorm((d,)), [x], True
    yield "GELU", "native, tanh", nn.GELU(), [hidden], True
    yield "GELU", "native, erf", nn.GELU(approximate=False), [hidden], True
    yield "GELU", "mindvit, tanh", kernels.GELU(), [hidden], True
    yield "softmax", "native", softmax, [(batch, h, n, n)], True
    yield "attention", "tutorial", tutorial_vit.Attention(d, h), [x], True
    yield "attention", "mindvit", Attention(d, h).set_train(), [x], True
    images = (batch, 3, image, image)
    yield "patches", "tutorial, Conv2d", tutorial_vit.PatchEmbedding(patch, d), [images], True
    yield "patches", "mindvit", kernels.PatchProduct(3, d, (patch, patch), "normal"), [images], True
    yield "transpose", "split heads", swap_tokens_and_heads, [(batch, n, 3 * h, d // h)], False
    yield "transpose", "turn keys", turn, [heads], False
    yield "transpose", "merge heads", swap_tokens_and_heads, [heads], False


def compiled_calls(function, shapes, gradient):
    """{"forward": call, "gradient": call}; the gradient is that of inputs and parameters, and includes the forward."""
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
    calls = {"forward": lambda: forward(*inputs)}
    output = forward(*inputs)
    if gradient:
        network = Gradient(forward)
        sens = ms.Tensor(rng.standard_normal(output.shape, np.float32))
        network(*inputs, sens)  # compiles
        calls["gradient"] = lambda: network(*inputs, sens)
    return calls


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
    for operation, form, function, shapes, gradient in operations(sizes, arguments.batch):
        calls = compiled_calls(function, shapes, gradient)
        times = {f"{name}_ms": milliseconds(call, arguments.repeats) for name, call in calls.items()}
        results.append({"operation": operation, "form": form, "shapes": shapes, **times})
    measure.print_table(("operation", "form", "input", "forward ms", "with gradient ms"),
                        [(row["operation"], row["form"], str(row["shapes"][0]), row["forward_ms"],
                          row.get("gradient_ms")) for row in results])
    measure.write_record(arguments, results)


if __name__ == "__main__":
    main()

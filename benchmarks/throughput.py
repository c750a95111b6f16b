"""Images a second of mindvit and its peers, each in its own process with the same threads, measured in turn.

python -m benchmarks.throughput --peers tutorial,mindcv,timm,onnxruntime,openvino --batch 1,8 --train
"""

import os
import tempfile

from benchmarks import measure
from benchmarks.networks import GEMM_SIZE


def jobs(arguments, peers, sizes, batch, train, folder):
    """The workers of one table: mindvit, these peers, and the matrix product."""
    def job(task, **more):
        return {"task": f"benchmarks.networks:{task}", "threads": arguments.threads, **more}

    network = {"sizes": sizes, "batch": batch}
    found = {"mindvit": job("mindvit", **network, train=train)}
    for peer in peers:
        python = {"python": arguments.peer_python[peer]} if peer in arguments.peer_python else {}
        if peer not in measure.RUN_A_FILE:
            found[peer] = job(peer, **network, train=train, **python)
            continue
        path = os.path.join(folder, "vit.onnx")
        if not os.path.exists(path):
            with measure.Worker(**job("export_onnx", sizes=sizes, path=path)):
                pass  # its first call has written the file
        found[peer] = job(peer, **network, path=path, **python)
    return {**found, "gemm": job("gemm")}


def compare(arguments, peers, sizes, batch, train):
    """One comparison, printed as a table; returns what the record holds of it."""
    with tempfile.TemporaryDirectory() as folder:
        results = measure.measure_in_turn(jobs(arguments, peers, sizes, batch, train, folder), arguments.repeats)
    gemm = results.pop("gemm")
    gemm_rate = 2 * GEMM_SIZE**3 / gemm["seconds"]
    flops = batch * measure.forward_flops(sizes) * (3 if train else 1)
    step = "training step" if train else "forward"
    print(f"\n{step}, batch {batch}; GEMM {gemm_rate / 1e9:.0f} GFLOP/s")
    rows = []
    for name, result in results.items():
        if "skipped" in result:
            print(f"skipped {name}: {result['skipped']}")
            continue
        result["images_per_second"] = batch / result["seconds"]
        result["mindvit_ratio"] = result["seconds"] / results["mindvit"]["seconds"]
        result["gemm_share"] = flops / result["seconds"] / gemm_rate
        rows.append((name, result["seconds"] * 1e3, result["images_per_second"], result["mindvit_ratio"],
                     f"{result['gemm_share']:.0%}", result["first_call_seconds"], result["peak_mib"]))
    measure.print_table(("network", "ms", "images/s", "mindvit is x", "of GEMM", "first call s", "peak MiB"), rows)
    return {"step": step, "batch": batch, "gemm_gflops": gemm_rate / 1e9, "networks": results}


def main(words=None):
    parser = measure.parser(__doc__)
    measure.add_peers(parser, measure.PEERS)
    parser.add_argument("--batch", default="1,8", help="batch sizes, comma-separated (%(default)s)")
    parser.add_argument("--train", action="store_true", help="training steps as well as forward passes")
    arguments = measure.parse(parser, words)
    sizes = measure.model_sizes(arguments)
    batches = [int(batch) for batch in arguments.batch.split(",")]
    results = [compare(arguments, arguments.peers, sizes, batch, False) for batch in batches]
    if arguments.train:  # mindvit with one peer at a time: training steps of four ViT-B/16 at batch 8 took 23 GB
        trainable = [[peer] for peer in arguments.peers if peer not in measure.RUN_A_FILE] or [[]]
        results += [compare(arguments, peers, sizes, batch, True) for batch in batches for peers in trainable]
    measure.write_record(arguments, results)


if __name__ == "__main__":
    main()

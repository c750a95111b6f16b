"""Images a second that `mindvit serve` answers, beside the same network called directly, and how many it loses.

python -m benchmarks.serving --clients 1,8,100
"""

import concurrent.futures
import contextlib
import http.client
import io
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import measure

SERVER = """import sys
from benchmarks import measure
measure.limit_threads(int(sys.argv.pop(1)))
from mindvit.cli import main
sys.exit(main())"""
SECONDS = 300  # after which a request that is not answered is lost


def photograph():
    """A JPEG of 500 x 375 pixels."""
    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    coarse = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def direct(checkpoint, num_heads, batch, opening):
    """The call that runs the network on a batch, after opening its images one after another or without."""
    import numpy as np

    from mindvit.config import ModelConfig, PredictJob
    from mindvit.data.transforms import opened_bytes
    from mindvit.inference.classifier import open_classifier

    model = ModelConfig(overrides={"num_heads": num_heads})
    classifier, data = open_classifier(PredictJob(checkpoint=checkpoint, model=model), "graph"), photograph()

    def opened():
        return np.stack([classifier.prepare(opened_bytes(data, "a.jpg", classifier.preprocessing))
                         for _ in range(batch)])

    images = opened()
    return lambda: classifier.logits(opened() if opening else images)


@contextlib.contextmanager
def served(threads, *words):
    """The port of a server."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(threads), "serve", "--port", "0", *words], text=True,
                               stdout=subprocess.PIPE, env=measure.environment())
    try:
        yield next(int(found[1]) for line in process.stdout if (found := re.match(r"ready: http://.*:(\d+)/", line)))
    finally:
        process.terminate()
        process.wait()


def load(port, clients, requests):
    """(seconds, answers that were lost, slowest answer's seconds) of so many clients that send so many requests
    together, each over a connection that stays."""
    header = {"Content-Type": "multipart/form-data; boundary=between"}
    body = (b'--between\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n' + photograph()
            + b"\r\n--between--\r\n")
    waiting = iter(range(requests))

    def client(_):
        lost, slowest = 0, 0.0
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
            for _ in waiting:
                start = time.perf_counter()
                try:
                    connection.request("POST", "/predict", body, header)
                    answer = connection.getresponse()
                    lost += "predictions" not in json.loads(answer.read())["images"][0]
                except (OSError, ValueError, KeyError, http.client.HTTPException):
                    lost += 1
                    connection.close()
                slowest = max(slowest, time.perf_counter() - start)
        return lost, slowest

    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        lost, slowest = zip(*pool.map(client, range(clients)))
    return time.perf_counter() - start, sum(lost), max(slowest)


def main(words=None):
    parser = measure.parser(__doc__, repeats=3)
    parser.add_argument("--batch", type=int, default=8, help="images of a batch (%(default)s)")
    parser.add_argument("--clients", default="1,8,100", help="clients at a time, comma-separated (%(default)s)")
    arguments = measure.parse(parser, words)
    import mindvit

    sizes = measure.model_sizes(arguments)
    rows = {}
    with contextlib.ExitStack() as stack:
        checkpoint = str(pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / "vit.ckpt")
        mindvit.save_weights(mindvit.ViT(**sizes, init="timm"), checkpoint)
        rounds = {}
        for opening in (False, True):
            worker = stack.enter_context(measure.Worker(
                "benchmarks.serving:direct", arguments.threads, checkpoint=checkpoint, num_heads=sizes["num_heads"],
                batch=arguments.batch, opening=opening))
            rounds["images opened, network" if opening else "network alone"] = \
                lambda worker=worker: (arguments.batch, worker.round()["seconds"], 0, None)
        port = stack.enter_context(served(
            arguments.threads, "--checkpoint", checkpoint, "--batch_size", str(arguments.batch),
            "--model.overrides.num_heads", str(sizes["num_heads"])))
        for clients in map(int, arguments.clients.split(",")):
            requests = max(clients, 2 * arguments.batch)
            rounds[f"served, {clients} clients"] = \
                lambda clients=clients, requests=requests: (requests, *load(port, clients, requests))
        for _ in range(arguments.repeats):
            for name, one_round in rounds.items():
                time.sleep(measure.PAUSE_SECONDS)
                rows.setdefault(name, []).append(one_round())
    results = []
    for name, found in rows.items():
        images, seconds, lost, slowest = zip(*found)
        results.append({"what": name, "images_per_second": statistics.median(map(lambda a, b: a / b, images, seconds)),
                        "lost": sum(lost), "slowest_seconds": max(slowest) if slowest[0] else None, "rounds": found})
    measure.print_table(["", "images/s", "of the network", "lost", "slowest answer, s"], [
        [row["what"], row["images_per_second"], row["images_per_second"] / results[0]["images_per_second"], row["lost"],
         row["slowest_seconds"]] for row in results])
    measure.write_record(arguments, results)
    return int(any(row["lost"] for row in results))


if __name__ == "__main__":
    sys.exit(main())

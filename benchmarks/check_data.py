"""Images a second of `mindvit check-data`, of PIL's `verify()` alone, and of PIL decoding the whole image.

python -m benchmarks.check_data
"""

import contextlib
import io
import multiprocessing.pool
import os
import pathlib
import tempfile

from PIL import Image

from benchmarks import measure
from benchmarks.input_pipeline import write_pictures

WAYS = ("check_data", "pil_verify", "pil_decode", "pil_eighth")


def check_data(folder):
    from mindvit.check.report import check_data

    def call():
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as out:
            check_data(folder, out=out)

    return call


def by_pillow(folder, read):
    pool = multiprocessing.pool.ThreadPool(min(32, os.cpu_count() + 4))  # as many as check-data has
    paths = sorted(pathlib.Path(folder).rglob("*.jpg"))

    def one(path):
        with Image.open(path) as image:
            read(image)

    return lambda: pool.map(one, paths, chunksize=32)


def pil_verify(folder):
    return by_pillow(folder, lambda image: image.verify())  # of a JPEG it reads the header alone


def pil_decode(folder):
    return by_pillow(folder, lambda image: image.load())


def pil_eighth(folder):
    return by_pillow(folder, lambda image: (image.draft(None, (1, 1)), image.load()))


def main(words=None):
    arguments = measure.parse(measure.parser(__doc__), words)
    count = 40 if arguments.smoke else 2000
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(folder, count)
        results = measure.measure_in_turn(
            {way: {"task": f"benchmarks.check_data:{way}", "threads": arguments.threads, "folder": folder}
             for way in WAYS}, arguments.repeats)
    for result in results.values():
        result["images_per_second"] = count / result["seconds"]
        result["check_data_ratio"] = result["seconds"] / results["check_data"]["seconds"]
    measure.print_table(("way", "images/s", "check-data is x"),
                        [(way, row["images_per_second"], row["check_data_ratio"]) for way, row in results.items()])
    measure.write_record(arguments, results)


if __name__ == "__main__":
    main()

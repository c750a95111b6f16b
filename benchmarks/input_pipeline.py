"""Images a second of mindvit's training pipeline and of a torchvision-style Pillow pipeline with the same workers.

python -m benchmarks.input_pipeline --workers 2
"""

import math
import multiprocessing.pool
import pathlib
import random
import tempfile

import numpy as np
from PIL import Image

from benchmarks import measure

SIZE, BATCH = 224, 32
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
PIPELINES = ("mindvit", "pillow_threads", "pillow_processes")


def write_pictures(folder, count):
    """Class folders of 500 x 375 JPEGs of about 90 kB, near the mean of ImageNet: soft shapes with grain."""
    rng = np.random.default_rng(0)
    for i in range(count):
        shapes = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((500, 375), Image.BICUBIC)
        pixels = np.asarray(shapes, np.float32) + 14 * rng.standard_normal((375, 500, 1), np.float32)
        path = pathlib.Path(folder) / "train" / f"class {i % 4}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def crop_box(width, height):
    """A random part of SCALE of the area with a width to height of RATIO; after ten misses the whole picture."""
    for _ in range(10):
        area = width * height * random.uniform(*SCALE)
        ratio = math.exp(random.uniform(*map(math.log, RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    return 0, 0, width, height


def pillow_batch(paths):
    """One batch (B, 3, SIZE, SIZE): open, random resized crop, flip, normalise."""
    images = []
    for path in paths:
        with Image.open(path) as image:
            image = image.convert("RGB")
        image = image.crop(crop_box(*image.size)).resize((SIZE, SIZE), Image.BILINEAR)
        if random.random() < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        images.append(((np.asarray(image, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1))
    return np.stack(images)


def pillow_call(pool, folder):
    paths = sorted(pathlib.Path(folder).rglob("*.jpg"))
    batches = [paths[i:i + BATCH] for i in range(0, len(paths) // BATCH * BATCH, BATCH)]

    def call():
        for _ in pool.imap(pillow_batch, batches):
            pass

    return call


def pillow_threads(folder, workers):
    return pillow_call(multiprocessing.pool.ThreadPool(workers), folder)


def pillow_processes(folder, workers):
    return pillow_call(multiprocessing.get_context("spawn").Pool(workers), folder)


def mindvit(folder, workers):
    from mindvit import ImageFolder

    dataset = ImageFolder(folder, "train", batch_size=BATCH, resize=SIZE, num_parallel_workers=workers).run()

    def call():
        for _ in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True):
            pass

    return call


def main(words=None):
    parser = measure.parser(__doc__)
    parser.add_argument("--workers", type=int, default=2, help="threads or processes that transform (%(default)s)")
    arguments = measure.parse(parser, words)
    count = BATCH if arguments.smoke else 8 * BATCH
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(folder, count)
        results = measure.measure_in_turn(
            {name: {"task": f"benchmarks.input_pipeline:{name}", "threads": arguments.threads, "folder": folder,
                    "workers": arguments.workers} for name in PIPELINES}, arguments.repeats)
    for result in results.values():
        result["images_per_second"] = count / result["seconds"]
        result["mindvit_ratio"] = result["seconds"] / results["mindvit"]["seconds"]
    measure.print_table(("pipeline", "images/s", "mindvit is x"),
                        [(name, row["images_per_second"], row["mindvit_ratio"]) for name, row in results.items()])
    measure.write_record(arguments, results)


if __name__ == "__main__":
    main()

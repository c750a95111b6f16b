"""Attention: from an AttentionJob to pages, overlays and arrays of what made the network decide."""

import contextlib
import pathlib
import re

import numpy as np

from mindvit.attention.capture import Evidence, Explainer, check_layer
from mindvit.attention.faithfulness import faithfulness
from mindvit.attention.measures import attention_distances
from mindvit.attention.methods import METHODS, head_maps, saliency_map
from mindvit.choices import Choice, name_of
from mindvit.config import AttentionJob, check_job
from mindvit.data.transforms import opened
from mindvit.files import claimed, numbered, one_line, replacing, save_image, write_json
from mindvit.inference.classifier import most_likely, open_classifier
from mindvit.inference.prediction import copy_names, image_files, stem_of
from mindvit.preprocessing import seen_part
from mindvit.visualize.figure7 import save_figure7
from mindvit.visualize.overlay import overlay, save_sheet
from mindvit.zoo import BROKEN, check_weights

CHANCE = "random"  # what a map of random numbers is called, beside which the others are read
RANDOM_ORDERS = 3
LARGEST_BATCH = 16  # images without some of their patches at a time
COLUMNS = 6  # heads side by side


def label_of(choice: Choice) -> str:
    """A method and its options in words."""
    options = choice[name_of(choice)] if isinstance(choice, dict) else None
    if not isinstance(options, dict):
        return name_of(choice) if options is None else f"{name_of(choice)} {options}"
    return " ".join([name_of(choice), *(f"{name} {value}" for name, value in options.items())])


def find_target(target, names):
    """The index of a class, of its name or index.

    Raises:
        ValueError: no class has it, or several have.
    """
    found = [index for index, name in enumerate(names) if name == target]
    if len(found) > 1:
        raise ValueError(f"target {target!r} is the name of the classes {', '.join(map(str, found))}; give one of "
                         "these")
    if not found and not (target.isdecimal() and int(target) < len(names)):
        raise ValueError(f"target {target!r} is no class of the checkpoint, by name or by index from 0 to "
                         f"{len(names) - 1}; they begin with {', '.join(names[:5])}")
    return found[0] if found else int(target)


def measured(classifier, image, maps, target, steps):
    """{map: deletion and insertion} of the maps, and of random ones in their middle."""
    def logits(images):
        batch = min(len(images), LARGEST_BATCH)
        parts = [images[i:i + batch] for i in range(0, len(images), batch)]
        filled = [np.concatenate([part, np.zeros_like(images[:batch - len(part)])]) for part in parts]  # for one graph
        return np.concatenate([classifier.logits(part) for part in filled])[:len(images)]

    def areas(values):
        found = faithfulness(logits, image, values, target, steps)
        return found.deletion_area, found.insertion_area

    random = np.random.default_rng(0).random((RANDOM_ORDERS, *next(iter(maps.values())).shape))
    found = {label: areas(values) for label, values in maps.items()}
    found[CHANCE] = np.mean([areas(values) for values in random], 0)
    return {label: {"deletion": float(deletion), "insertion": float(insertion)}
            for label, (deletion, insertion) in found.items()}


def free_pages(folder, name, ends):
    """Paths of an image's page, beside which there is nothing with these ends of its other outputs."""
    pages = numbered(folder / stem_of(name), ".png")
    return (page for page in pages if not any(page.with_name(f"{page.stem}{end}").exists() for end in ends))


def check_options(job, layers, heads):
    """The methods by what they are called; ValueError if a layer or head is none of the network's."""
    nothing = np.zeros((layers, heads, 2, 2))
    blank = Evidence(np.zeros(1), 0, nothing, nothing, nothing[:, 0], nothing[:, 0], np.array([1, 0]), (1, 1))
    for layer in job.layers:
        check_layer(layer, layers)
    if not job.methods:
        raise ValueError(f"methods is empty; name one of {', '.join(METHODS)}")
    methods = {label_of(method): method for method in job.methods}
    if len(methods) < len(job.methods):
        raise ValueError(f"methods has one of {', '.join(methods)} twice; leave one out")
    for method in job.methods:
        saliency_map(blank, method)
    return methods


def figures_of(figures):
    return f"deletion {figures['deletion']:.3f}, insertion {figures['insertion']:.3f}"


def sheet(job, seen, predictions, evidence, maps, drawn, figures):
    """The rows of an image's page, of overlays with their lines: the maps, then the heads of the layers."""
    rows = [[(seen, [f"{each['label']} ({each['index']}) {each['probability']:.3f}" for each in predictions[:3]])]]
    for label, values in maps.items():
        same = ": the same everywhere" if np.ptp(values) == 0 else ""
        rows[0].append((drawn[label], [label + same, *([figures_of(figures[label])] if figures else [])]))
    for layer in job.layers:
        heads = [(overlay(seen, values), [f"layer {layer % len(evidence.attention)}, head {head}"])
                 for head, values in enumerate(head_maps(evidence, layer))]
        rows += [heads[i:i + COLUMNS] for i in range(0, len(heads), COLUMNS)]
    return rows


def write_all(job, name, rows, evidence, maps, drawn):
    """Writes page, arrays and overlays of an image, all of them or none; returns their paths as its record has them."""
    ends = [".npz", *(f"_{re.sub('[^a-z0-9-]+', '_', label)}.jpg" for label in maps)]
    with claimed(free_pages(pathlib.Path(job.out), name, ends)) as page, contextlib.ExitStack() as undo:
        arrays, *overlays = (page.with_name(f"{page.stem}{end}") for end in ends)
        for path in (arrays, *overlays):
            undo.callback(path.unlink, missing_ok=True)
        for path, picture in zip(overlays, drawn.values()):
            save_image(picture, path, quality=92)
        with replacing(arrays) as temporary, open(temporary, "wb") as archive:
            np.savez(archive, weights=evidence.attention[job.layers], layers=job.layers, **maps)
        save_sheet(rows, page)
        undo.pop_all()  # all is written
    return {"page": str(page), "arrays": str(arrays), "overlays": dict(zip(maps, map(str, overlays)))}


def explain(job, methods, classifier, explainer, target, file, name):
    """Looks at an image and writes what there is to see; returns how far the heads look, (layers, heads), and the
    image's record."""
    image = opened(file, classifier.preprocessing)
    prepared = classifier.prepare(image)
    evidence = explainer(prepared, target)
    if not np.isfinite(evidence.logits).all():
        raise ValueError(f"{classifier.source} gives no numbers: {BROKEN}")
    predictions = most_likely(evidence.logits, classifier.names, len(classifier.names))
    maps = {label: saliency_map(evidence, method) for label, method in methods.items()}
    figures = measured(classifier, prepared, maps, evidence.target, job.steps) if job.steps else {}
    seen = seen_part(image, classifier.size, classifier.preprocessing)
    drawn = {label: overlay(seen, values) for label, values in maps.items()}
    rows = sheet(job, seen, predictions, evidence, maps, drawn, figures)
    written = write_all(job, name, rows, evidence, maps, drawn)
    patch_size = classifier.network.patch_embedding.patch_size
    return attention_distances(evidence.attention[None], evidence.grid, patch_size), {
        "path": file, "predictions": predictions[:5],
        "target": next(each for each in predictions if each["index"] == evidence.target), **written,
        **({"faithfulness": figures} if figures else {})}


def draw_attention(job: AttentionJob) -> list[dict]:
    """Shows what in images made the network decide; prints and returns one record an image.

    Of each image, `NAME.png` is a page of the overlays and of the heads, `NAME_METHOD.jpg` an overlay, and `NAME.npz`
    has the maps, (rows, columns) of patches, and the `weights` of the layers, (layers, heads, N, N), rows summing to 1.
    `figure7.png` shows patch filters, position embeddings and attention distance, as the ViT paper's figure 7 does.

    Args:
        job (AttentionJob): the run.

    Returns:
        list[dict]: for each image `path`, `predictions`, `target` (`index`, `label`, `probability`), `page`, `arrays`,
        `overlays` by method and, unless steps is 0, `faithfulness`: by method, and for random maps, the areas under the
        curves of `deletion` (low is good) and `insertion` (high is good); `error` in place of these for an image that
        can't be read.

    Raises:
        FileNotFoundError: a path, or the checkpoint, is absent.
        OSError: out or json cannot be written.
        TypeError: it is no AttentionJob.
        ValueError: no weights or images are given, there is no such layer, head or class, or network, checkpoint or
            device do not fit.

    Example:
        >>> job = AttentionJob(paths="cat.jpg", checkpoint="vit_tiny_patch16_224.safetensors", steps=0)
        >>> records = draw_attention(job)
        device CPU ...
        >>> records[0]["page"], list(records[0]["overlays"])
        ('attention/cat.png', ['attention', 'rollout', 'relevance', 'grad_cam'])
    """
    check_job(job, AttentionJob, "draw_attention")
    check_weights(job, "ask")
    files = image_files(job)
    classifier = open_classifier(job, "graph")
    explainer = Explainer(classifier.network)
    target = None if job.target is None else find_target(job.target, classifier.names)
    methods = check_options(job, explainer.layers, classifier.network.transformer.layers[0].attention.num_heads)
    if job.steps:
        print("deletion: the area under the class's probability while the patches that a map names first are taken "
              f"away, low is good; insertion: while they come, high is good; {CHANCE}: the same for a map of random "
              "numbers", flush=True)
    names, records, distances = copy_names(files), [], []
    for file in files:
        try:
            found, record = explain(job, methods, classifier, explainer, target, file, names[file])
            distances.append(found)
            records.append(record)
        except (OSError, ValueError, RuntimeError) as error:
            records.append({"path": file, "error": str(error)})
        print(in_words(records[-1]), flush=True)
    if len(told := [record["faithfulness"] for record in records if "faithfulness" in record]) > 1:
        print(f"mean of {len(told)} images:")
        for label in told[0]:
            mean = {name: np.mean([figures[label][name] for figures in told]) for name in ("deletion", "insertion")}
            print(f"  {label}: {figures_of(mean)}", flush=True)
    if job.json:
        write_json(records, job.json)
    if distances:
        with claimed(numbered(pathlib.Path(job.out, "figure7"), ".png")) as figure:
            save_figure7(classifier.network, np.mean(distances, 0), figure)
        print(f"{figure}: patch filters, position embeddings, and how far each head looks (images: {len(distances)})",
              flush=True)
    return records


def in_words(record):
    """The lines on one image."""
    if "error" in record:
        return one_line(f"{record['path']}: {record['error']}")
    target = record["target"]
    figures = [f"  {label}: {figures_of(found)}" for label, found in record.get("faithfulness", {}).items()]
    named = f"{{{target['index']}: {target['label']!r}}} {target['probability']:.4f}"
    return "\n".join([one_line(f"{record['path']}: {named}; {record['page']}"), *figures])

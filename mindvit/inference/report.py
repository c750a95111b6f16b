"""The page of an evaluation: report.html, one file with everything in it."""

import base64
import dataclasses
import hashlib
import html
import io
import pathlib
import string
import time

import numpy as np
import yaml
from PIL import Image

from mindvit.attention.capture import Explainer
from mindvit.attention.methods import saliency_map
from mindvit.data import prepare_image
from mindvit.data.images import small_image
from mindvit.data.transforms import opened
from mindvit.device import versions
from mindvit.exporting.backends import what_computes
from mindvit.files import one_line, replacing, sha256
from mindvit.inference.scores import BINS, calibration, class_scores, wilson
from mindvit.preprocessing import seen_part
from mindvit.visualize.overlay import overlay
from mindvit.zoo import image_size as size_of
from mindvit.zoo import weights_file

TEMPLATE = pathlib.Path(__file__).with_name("report.html")
MATRIX, PAIRS, MISTAKES, NAMED = 30, 30, 24, 100  # classes of a whole matrix; pairs, mistakes, left-out images shown
SIDE, PIXELS = 200, 64  # pixels of a thumbnail, and up to which an image shows its own
JOINERS = "\u200c\u200d"  # that some scripts and emoji need between their letters


def save_report(file, images, results, confusion, rows, about, explain=None):
    """Writes the page.

    Args:
        file (Path): report.html.
        images (ImageDataset): the images, with `classes` and `skipped`.
        results (dict): Top_1_Accuracy, Top_5_Accuracy if there is one, val_loss.
        confusion (array): counts (classes, classes), rows the true class, columns the predicted one.
        rows (dict of arrays): see `PerImage`.
        about (dict): what else is to be known, text by term, see `about_run`.
        explain (callable, optional): see `explainer_of`.
    """
    template = TEMPLATE.read_text(encoding="utf-8")
    script = template.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    read = np.flatnonzero(rows["label"] >= 0)
    bins, error = calibration(rows["confidence"][read], (rows["label"] == rows["predicted"])[read])
    scores = class_scores(confusion)
    page = string.Template(template).substitute(
        script=f"sha256-{digest}", title=text(about["title"]), subtitle=text(about["images"]),
        tiles=tiles(results, len(read), len(rows["label"]) - len(read), error, scores),
        reliability=reliability(bins, error), confusion=matrix_or_pairs(confusion, images.classes),
        classes=class_table(confusion, scores, images.classes), mistakes=mistakes(images, rows, explain),
        skipped=skipped(images, np.flatnonzero(rows["label"] < 0)), about=in_terms(about))
    with replacing(file) as temporary:
        temporary.write_text(page, encoding="utf-8")


def about_run(job, network, device, what, remarks):
    """What else is to be known of an evaluation, text by term: the images, the network, and all that was assumed."""
    checkpoint = weights_file(job)
    arguments = ", ".join(f"{name} {value}" for name, value in network.arguments.items() if value is not None)
    return {"title": f"Evaluation of {pathlib.Path(checkpoint).name}", "images": what,
            "prepared": network.preprocessing.describe(size_of(network)),
            "checkpoint": f"{checkpoint}\n{pathlib.Path(checkpoint).stat().st_size:,} bytes, SHA-256 "
                          f"{sha256(checkpoint)}",
            "network": f"{sum(parameter.size for parameter in network.get_parameters()):,} parameters; {arguments}",
            "weights": str(network.load_report), **({"remarks": "\n".join(remarks)} if remarks else {}),
            "device": what_computes(job, device), "versions": versions(),
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "settings": yaml.safe_dump(dataclasses.asdict(job), sort_keys=False, allow_unicode=True)}


def explainer_of(network):
    """A function from an image, a path or PIL.Image, and a class to the overlay of what spoke for the class."""
    explainer, size, preprocessing = Explainer(network), size_of(network), network.preprocessing

    def explain(image, target):
        image = image if isinstance(image, Image.Image) else opened(image, preprocessing)
        evidence = explainer(prepare_image(image, size, preprocessing), target)
        return overlay(seen_part(image, size, preprocessing), saliency_map(evidence))

    return explain


def text(value):
    """Text for the page: nothing in it is a tag or ends an attribute, and what nobody would see, or what would turn a
    line around, is spelled out."""
    return html.escape(one_line(str(value), JOINERS))


def lines(value):
    """Text of several lines."""
    return "\n".join(map(text, value.splitlines()))


def percent(share):
    return f"{share:.2%}"


def tiles(results, images, left_out, error, scores):
    """The numbers at the top."""
    rows = []
    for name, word in (("Top_1_Accuracy", "top-1 accuracy"), ("Top_5_Accuracy", "top-5 accuracy")):
        if name in results:
            low, high = wilson(round(results[name] * images), images)
            rows.append((word, percent(results[name]), f"95% interval {low:.2%} to {high:.2%} (Wilson 1927)"))
    rows += [("mean cross entropy", f"{results['val_loss']:.4f}", "nats, no label smoothing"),
             ("calibration error", percent(error), f"ECE, {BINS} bins (Guo et al. 2017)"),
             ("macro F1", percent(np.nanmean(scores[2])), "mean over the classes"),
             ("images", f"{images:,}", f"{left_out:,} left out, which cannot be read")]
    return "\n".join(f"<div><small>{word}</small><b>{number}</b><small>{note}</small></div>"
                     for word, number, note in rows)


def reliability(bins, error):
    """The reliability picture, an SVG: in each bin of confidence the accuracy, the gap to the confidence, and how many
    images there are."""
    left, width, top, height, low, most = 60, 400, 10, 220, 60, bins[:, 0].max()
    bottom = top + height
    foot = bottom + low + 24
    drawn = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = left + share * width, bottom - share * height
        drawn += [f'<path class="axis" d="M{left} {y}h{width}"/>',
                  f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{share:.0%}</text>',
                  f'<text x="{x}" y="{foot + 16}" text-anchor="middle">{share:.0%}</text>']
    for number, (images, confidence, accuracy) in enumerate(bins):
        if not images:
            continue
        x, wide = left + number * width / BINS + 1, width / BINS - 2
        ends = sorted((accuracy, confidence))
        tall = images / most * low
        said = (f"confidence {number / BINS:.1%} to {(number + 1) / BINS:.1%}: {images:,.0f} images, mean confidence "
                f"{confidence:.1%}, accuracy {accuracy:.1%}")
        drawn.append(f'<g><title>{said}</title>' + "".join(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{h:.1f}"/>' for kind, y, h in (
                ("accuracy", bottom - accuracy * height, accuracy * height),
                ("gap" if confidence > accuracy else "gap under", bottom - ends[1] * height,
                 (ends[1] - ends[0]) * height),
                ("accuracy", foot - tall, tall))) + "</g>")
    drawn += [f'<path class="ideal" d="M{left} {bottom}L{left + width} {top}"/>',
              f'<path class="axis" d="M{left} {foot}h{width}"/>',
              f'<text x="{left - 6}" y="{foot - low + 10}" text-anchor="end">{most:,.0f}</text>',
              f'<text x="{left + width / 2}" y="{foot + 34}" text-anchor="middle">confidence (probability of the '
              'predicted class)</text>',
              f'<text transform="translate(10 {top + height / 2}) rotate(-90)" text-anchor="middle">accuracy</text>',
              f'<text transform="translate(10 {foot - low / 2}) rotate(-90)" text-anchor="middle">images</text>']
    above = (bins[:, 0] * (bins[:, 1] - bins[:, 2])).sum() / bins[:, 0].sum()
    return ("<p>Of the images named with a confidence of 80%, 80% should be right: the bars should end on the dashed "
            f"line. Mean confidence is {abs(above) * 100:.2f} points {'above' if above > 0 else 'below'} accuracy; the "
            f"expected calibration error, the mean gap (orange), is {percent(error)}.</p>\n"
            f'<svg viewBox="0 0 {left + width + 16} {foot + 40}" role="img" aria-label="accuracy by confidence">'
            f'{"".join(drawn)}</svg>')


def matrix_or_pairs(confusion, names):
    """The confusion matrix of the classes that occur, or of many the pairs that are confused most."""
    used = np.flatnonzero(confusion.sum(0) + confusion.sum(1))
    return matrix(confusion, used, names) if len(used) <= MATRIX else pairs(confusion, names)


def matrix(confusion, used, names):
    """A table of counts, coloured by their shares of the class's images; the square root shows one of a hundred too."""
    shares = np.sqrt(confusion / np.maximum(confusion.sum(1, keepdims=True), 1))
    heads = "".join(f'<th title="{text(names[i])}"><span>{text(names[i])}</span></th>' for i in used)
    body = []
    for i in used:
        cells = (f'<td style="background:rgb(var(--{"right" if i == j else "wrong"})/{0.6 * shares[i, j]:.2f})">'
                 f"{confusion[i, j]:,}</td>" if confusion[i, j] else "<td></td>" for j in used)
        body.append(f'<tr><th title="{text(names[i])}"><span>{text(names[i])}</span></th>{"".join(cells)}</tr>')
    return ("<p>Rows are the true classes, columns the predicted ones.</p>\n"
            '<div class="scroll"><table class="matrix">'
            f"<thead><tr><th>true \\ predicted</th>{heads}</tr></thead><tbody>\n" + "\n".join(body)
            + "</tbody></table></div>")


def pairs(confusion, names):
    """A table of the pairs (true, predicted) with most images."""
    wrong = confusion * (1 - np.eye(len(confusion), dtype=int))
    found = [divmod(int(place), len(wrong)) for place in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]]
    rows = [(names[i], names[j], wrong[i, j], wrong[i, j] / confusion[i].sum()) for i, j in found if wrong[i, j]]
    return (f"<p>The {len(rows)} most confused pairs of the {len(names):,} classes.</p>\n"
            + table([("true", "text"), ("predicted", "text"), ("images", "descending"), ("of the class", "")],
                    [(text(true), text(predicted), f"{images:,}", f"{share:.1%}")
                     for true, predicted, images, share in rows]))


def class_table(confusion, scores, names):
    """A table of the classes that occur, with what each is taken for most."""
    used = np.flatnonzero(confusion.sum(0) + confusion.sum(1))
    wrong = confusion * (1 - np.eye(len(confusion), dtype=int))
    rows = []
    for i in used[np.argsort(scores[2, used], kind="stable")]:
        other, images = wrong[i].argmax(), confusion[i].sum()
        taken = (f'<bdi>{text(names[other])}</bdi> <span class="soft">{wrong[i, other] / images:.1%}</span>'
                 if wrong[i].any() else "")
        rows.append((text(names[i]), f"{images:,}", *(("&ndash;" if np.isnan(score) else f"{score:.3f}")
                                                      for score in scores[[1, 0, 2], i]), taken))
    left = len(names) - len(used)
    absent = f" {left:,} of the {len(names):,} classes are neither in the images nor predicted." * bool(left)
    return ("<p>Recall is the share of a class's images that is named right, precision the share of the images named "
            f"as the class that is of it, F1 their harmonic mean.{absent}</p>\n"
            + table([("class", "text"), ("images", ""), ("recall", ""), ("precision", ""), ("F1", "ascending"),
                     ("most often taken for", "text")], rows))


def table(heads, rows):
    """A table to be sorted by its heads: (word, "text", "" for numbers, or the order that it is in)."""
    head = "".join(f'<th{" class=name" * (kind == "text")}'
                   f'{f" aria-sort={kind}" * (kind not in ("", "text"))}><button>{word}</button></th>'
                   for word, kind in heads)
    body = "\n".join("<tr>" + "".join(f'<td{" class=name" * (kind == "text")}>{cell}</td>'
                                      for cell, (_, kind) in zip(row, heads)) + "</tr>" for row in rows)
    return ('<div class="scroll long"><table class="wide">'
            f"<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>")


def mistakes(images, rows, explain):
    """The pictures of the wrong predictions with the highest probabilities, each with what spoke for it."""
    wrong = np.flatnonzero((rows["label"] >= 0) & (rows["label"] != rows["predicted"]))
    worst = wrong[np.argsort(-rows["confidence"][wrong], kind="stable")[:MISTAKES]]
    if not len(worst):
        return "<p>There is none.</p>"
    cards = []
    for i in map(int, worst):
        true, predicted = (text(images.classes[rows[name][i]]) for name in ("label", "predicted"))
        image, target = images.image(i), int(rows["predicted"][i])
        pictures = [picture(f"{true}, taken for {predicted}", small, image)]
        if explain:
            pictures.append(picture(f"what spoke for {predicted}", explain, image, target))
        cards.append(f'<figure><div class="pictures">{"".join(pictures)}</div><figcaption>'
                     f"<b>taken for <bdi>{predicted}</bdi>, {rows['confidence'][i]:.1%}</b><br>"
                     f"is <bdi>{true}</bdi>, {rows['truth'][i]:.1%}"
                     f"<small>{text(images.name(i))}</small></figcaption></figure>")
    beside = (" Beside each, yellow where it speaks most for the predicted class: relevance by Chefer et al. 2021, of "
              "the part of the image that the network sees." * bool(explain))
    return (f"<p>{len(wrong):,} images are named wrong; these {len(worst)} with the highest probability.{beside}</p>\n"
            f'<div class="mistakes{" pairs" * bool(explain)}">\n' + "\n".join(cards) + "\n</div>")


def small(image):
    """What is shown of an image, a path or PIL.Image."""
    return image if isinstance(image, Image.Image) else small_image(image, SIDE)


def picture(words, draw, *arguments):
    """The img of what is drawn, or why there is none: after hours of evaluation one picture stops no page."""
    try:
        image = draw(*arguments)
    except (OSError, ValueError, RuntimeError) as error:  # the file is gone since, or the device's memory full
        return f'<span class="none">{text(next(iter(str(error).splitlines()), type(error).__name__))}</span>'
    image.thumbnail((SIDE, SIDE))
    few, buffer = max(image.size) <= PIXELS, io.BytesIO()
    image.convert("RGB").save(buffer, "PNG" if few else "JPEG", quality=80)
    return (f'<img alt="{words}"{" class=pixels" * few} src="data:image/{"png" if few else "jpeg"};base64,'
            f'{base64.b64encode(buffer.getvalue()).decode()}">')


def skipped(images, left_out):
    """The list of the images that could not be read."""
    if not len(left_out):
        return ""
    rows = [f"<li>{text(images.name(i))}: {text(images.skipped.get(i, 'another worker could not read it'))}</li>"
            for i in map(int, left_out[:NAMED])]
    more = f"<li>and {len(left_out) - NAMED:,} more</li>" * (len(left_out) > NAMED)
    return f"<h2>Left out</h2>\n<p>These images cannot be read and count nowhere.</p>\n<ul>{''.join(rows)}{more}</ul>"


def in_terms(about):
    """The list of what else is to be known; the settings, which are long, behind a line to open."""
    terms = "\n".join(f"<dt>{text(term)}</dt><dd>{lines(value)}</dd>" for term, value in about.items()
                      if term not in ("title", "settings"))
    return (f"<dl>\n{terms}\n</dl>\n<details><summary>All settings</summary><pre>{lines(about['settings'])}</pre>"
            "</details>")

"""Writes the tables of PAGES, and the pictures of speed and transfer, from the records in benchmarks/results/.

python -m benchmarks.tables
"""

import json
import re
import statistics

from benchmarks import measure

RESULTS = measure.ROOT / "benchmarks" / "results"
# Those of docs/export.md in words, the first of which the others are compared with.
BACKENDS = {"mindvit": "mindspore", "onnxruntime": "onnxruntime", "openvino": "openvino",
            "openvino_bfloat16": "openvino, bfloat16"}
NETWORKS = ("mindvit", "timm", "tutorial")
LIBRARIES = ("mindvit", "pytorch")
PAGES = ("benchmarks/README.md", "docs/results.md", "docs/results_CN.md", "docs/scaling.md",
         "docs/scaling_CN.md", "docs/export.md", "docs/export_CN.md")
HEADERS = ("mindvit", "timm {timm}, eager PyTorch {torch}", "tutorial", "mindvit is x of timm", "of tutorial")
# Bars of the picture: what to read, its words, and the networks.
BARS = ((("throughput", "forward", 8), "forward, 8 images at a time",
         ("tutorial", "timm", "mindvit", "onnxruntime", "openvino", "openvino_bfloat16")),
        (("throughput", "training step", 8), "a step of training, 8 images", ("tutorial", "timm", "mindvit")))
CALLED = {"tutorial": "MindSpore's tutorial", "timm": "timm, PyTorch", "mindvit": "mindvit, MindSpore",
          "onnxruntime": "mindvit, onnxruntime", "openvino": "mindvit, OpenVINO",
          "openvino_bfloat16": "mindvit, OpenVINO, bfloat16"}

# (what to read, its words, if more is better)
ROWS = [
    (("throughput", "forward", 1), "forward, batch 1, images/s", True),
    (("throughput", "forward", 8), "forward, batch 8, images/s", True),
    (("throughput", "training step", 1), "training step, batch 1, images/s", True),
    (("throughput", "training step", 8), "training step, batch 8, images/s", True),
    (("memory",), "peak memory of that, GB", False),
    (("startup", "compile forward"), "compiling the forward pass, s", False),
    (("startup", "compile training step"), "compiling the training step, s", False),
    (("startup", "first forward"), "first forward, compile included, s", False),
    (("startup", "first training step"), "first training step, compile included, s", False),
    (("startup", "import"), "import, s", False),
    (("startup", "predict one picture"), "one picture predicted, whole process, s", False),
]


def read_records():
    """{benchmark: its committed record}."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def value(records, row, name):
    """A number of the table, or None where nobody measured it; rounds of several comparisons count together."""
    benchmark, *what = row
    results = records[benchmark]["results"]
    if benchmark == "throughput":
        step, batch = what
        rounds = [seconds for comparison in results if (comparison["step"], comparison["batch"]) == (step, batch)
                  for seconds in comparison["networks"].get(name, {}).get("rounds", ())]
        return batch / statistics.median(rounds) if rounds else None
    if benchmark == "memory":
        return results[name]["peak_mib"] * 2**20 / 1e9 if "peak_mib" in results.get(name, {}) else None
    return results[what[0]][name]["seconds"] if name in results[what[0]] else None


def text(number):
    """Three digits, or nothing."""
    return "" if number is None else f"{number:.2f}" if number < 10 else f"{number:.1f}"


def table(records):
    """The lines of the table of speed, with where and when it was measured above it."""
    networks = records["throughput"]["results"][0]["networks"]
    versions = {**networks["timm"]["versions"], "torch": networks["timm"]["versions"]["torch"].partition("+")[0]}
    headers = [header.format(**versions) for header in HEADERS]
    version = records["throughput"]["versions"]["mindspore"]
    lines = [f"{measured_on(records['throughput'])}; MindSpore {version}, float32.", "",
             f"| | {' | '.join(headers)} |", "|---" * (1 + len(headers)) + "|"]
    for row, words, more_is_better in ROWS:
        mine, *peers = numbers = [value(records, row, name) for name in NETWORKS]
        numbers += [peer and (mine / peer if more_is_better else peer / mine) for peer in peers]
        lines.append(f"| {words} | {' | '.join(map(text, numbers))} |")
    pipeline = records["input_pipeline"]["results"]
    pillow = max(row["images_per_second"] for name, row in pipeline.items() if name != "mindvit")
    lines.append(f"| decode, crop, flip, normalise, images/s with two threads (Pillow: {pillow:.0f}) | "
                 f"{pipeline['mindvit']['images_per_second']:.0f} |{' |' * (len(headers) - 1)}")
    machines = {name: f"{records[name]['date'][:10]}, {records[name]['machine']['processor']}" for name in records}
    if others := {machines[name] for name in ("memory", "startup", "input_pipeline")} - {machines["throughput"]}:
        lines += ["", f"From the peak memory on the rows are of another day: {'; '.join(sorted(others))}."]
    return lines


def last_epochs(runs, library):
    """Top-1 of the last epoch of each training, in percent."""
    return [100 * run[library]["top_1"][-1] for run in runs if library in run]


def learning_table(record, transfer):
    """The lines of a table of docs/results.md: of the transfers to MNIST, or, with seconds, of all other trainings."""
    machine = record["machine"]["processor"]
    lines = [f"{record['date'][:10]}, 2 cores of an {machine}.", "",
             "| | mindvit | PyTorch | by seed, mindvit | by seed, PyTorch |" + " s | s, PyTorch |" * (not transfer),
             "|---" * (5 if transfer else 7) + "|"]
    for name, runs in record["results"].items():
        if not runs or name.startswith("transfer") != transfer:
            continue
        cells = [name.removeprefix("transfer, ")]
        values = {library: last_epochs(runs, library) for library in LIBRARIES}
        for found in values.values():
            cells.append(f"{statistics.mean(found):.2f} ± {statistics.stdev(found):.2f}" if found[1:] else "")
        cells += [" ".join(f"{value:.2f}" for value in found) for found in values.values()]
        for library in () if transfer else LIBRARIES:
            seconds = [run[library]["seconds"] for run in runs if library in run]
            cells.append(f"{statistics.median(seconds):.0f}" if seconds else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def activations_table(record):
    """The lines of the table of docs/scaling.md."""
    lines = ["| MiB an image | by formula | counted | on the CPU |", "|---" * 4 + "|"]
    for row in record["results"]:
        numbers = [row.get(name) for name in ("formula", "counted", "measured")]
        cells = ("" if number is None else f"{number:.1f}" for number in numbers)
        lines.append(f"| {row['model']}, {row['forms']} | {' | '.join(cells)} |")
    return lines


def measured_on(record):
    """When, and on what, a record was made."""
    load, threads = record["machine"]["load_average"], record["arguments"]["threads"]
    beside = f", other programs beside (load average {load:.1f}): read the ratios" if load > threads + 1 else ""
    return (f"{record['date'][:10]}, {threads} cores of an {record['machine']['processor']}, "
            f"ViT-B/16 at 224, medians of {record['arguments']['repeats']} rounds in turn{beside}")


def backends_table(records):
    """The lines of the table of the backends: speed, and the time of a whole `mindvit predict` of one picture."""
    first, eighth = (row["networks"] for row in records["backends"]["results"])
    started = records["backends_startup"]["results"]["predict one picture"]
    lines = [f"{measured_on(records['backends'])}.", "",
             "| | images/s, batch 1 | batch 8 | x of mindspore, batch 1 | batch 8 | one picture predicted, s |",
             "|---" * 6 + "|"]
    for name, words in BACKENDS.items():
        speeds = [number / row[name]["seconds"] for number, row in ((1, first), (8, eighth))]
        ratios = [row["mindvit"]["seconds"] / row[name]["seconds"] for row in (first, eighth)]
        numbers = [*speeds, *ratios, started[name]["seconds"]]
        lines.append(f"| {words} | {' | '.join(map(text, numbers))} |")
    return lines


def quantisation_table(record):
    """The lines of the table of precisions: accuracy with the changed top-1, and speed."""
    accuracy, speed = record["results"]["accuracy"], record["results"]["speed"]
    headers = [*(f"{name}, top-1 % (changed)" for name in accuracy), "images/s, batch 8", "x of mindspore"]
    lines = [f"Speed: {measured_on(record)}.", "", f"| | {' | '.join(headers)} |", "|---" * (1 + len(headers)) + "|"]
    for way, result in speed.items():
        cells = [f"{100 * data[way]['top_1']:.2f} ({data[way]['changed']})" for data in accuracy.values()]
        numbers = [record["arguments"]["batch"] / result["seconds"], speed["mindspore"]["seconds"] / result["seconds"]]
        lines.append(f"| {way} | {' | '.join(cells)} | {' | '.join(map(text, numbers))} |")
    return lines


def draw_speed(records, path):
    """The picture of images a second."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    parts = figure.subplots(len(BARS), 1, sharex=True, height_ratios=[len(names) for *_, names in BARS])
    for axes, (row, words, names) in zip(parts, BARS):
        speeds = [value(records, row, name) for name in names]
        colours = ["tab:blue" if name.startswith(("mindvit", "onnx", "openvino")) else "lightgray" for name in names]
        bars = axes.barh([CALLED[name] for name in names], speeds, color=colours)
        axes.bar_label(bars, [text(speed) for speed in speeds], padding=3)
        axes.set_title(words, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.12)
    record = records["throughput"]
    figure.supxlabel(f"images a second, ViT-B/16 at 224, {record['arguments']['threads']} cores of an "
                     f"{record['machine']['processor']}, {record['date'][:10]}", fontsize=10)
    figure.savefig(path, dpi=120)


def draw_transfer(record, path):
    """The picture of accuracy by pictures a class, a line for each way of training."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ways = {}
    for name, runs in record["results"].items():
        if name.startswith("transfer") and runs:
            _, way, count = name.split(", ")
            ways.setdefault(way, []).append((int(count), last_epochs(runs, "mindvit")))
    if not ways:
        return
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for way, points in ways.items():
        counts, values = zip(*sorted(points))
        means = [statistics.mean(value) for value in values]
        axes.errorbar(counts, means, [statistics.stdev(value) if value[1:] else 0 for value in values], marker="o",
                      capsize=3, label=way)
    axes.set(xscale="log", xlabel="MNIST pictures a class", ylabel="top-1 on the 10,000 test images, %",
             title="From the weights of the quickstart's digits to MNIST")
    axes.set_xticks(counts, counts)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def replaced(content, records):
    """A page's text with its tables written anew, between the comments that mark them."""
    tables = {"speed": lambda: table(records), "learning": lambda: learning_table(records["learning"], False),
              "transfer": lambda: learning_table(records["learning"], True),
              "activations": lambda: activations_table(records["activations"]),
              "backends": lambda: backends_table(records),
              "quantisation": lambda: quantisation_table(records["quantisation"])}
    for name, lines in tables.items():
        if f"<!-- {name} -->" in content:
            text = "\n".join(lines())
            content = re.sub(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)",
                             lambda found, text=text: found[1] + text + found[2], content, flags=re.DOTALL)
    return content


def main():
    records = read_records()
    draw_transfer(records["learning"], measure.ROOT / "docs/images/transfer.png")
    draw_speed(records, measure.ROOT / "docs/images/speed.png")
    for name in PAGES:
        path = measure.ROOT / name
        path.write_text(replaced(path.read_text(encoding="utf-8"), records), encoding="utf-8")
        print(f"wrote the tables of {name}")


if __name__ == "__main__":
    main()

"""How faithful the maps of each method are on the packaged digits, beside maps of random numbers.

python -m benchmarks.faithfulness --images 100 --json benchmarks/results/faithfulness.json
"""

import pathlib
import tempfile

from benchmarks import measure


def main(words=None):
    parser = measure.parser(__doc__)
    parser.add_argument("--images", type=int, default=100, help="of the 360 held-out digits, the same share of each")
    arguments = measure.parse(parser, words)

    import numpy as np

    import mindvit

    with tempfile.TemporaryDirectory() as folder:
        files = sorted(mindvit.write_digits(pathlib.Path(folder, "digits")).glob("val/*/*.png"))
        files = files[::len(files) // (4 if arguments.smoke else arguments.images)]
        records = mindvit.draw_attention(mindvit.AttentionJob(
            paths=list(map(str, files)), model=mindvit.ModelConfig("digits", pretrained=True),
            out=f"{folder}/seen", device_target="CPU"))
    found = {label: {name: [record["faithfulness"][label][name] for record in records]
                     for name in ("deletion", "insertion")} for label in records[0]["faithfulness"]}
    results = {label: {name: {"mean": float(np.mean(values)), "error": float(np.std(values) / len(values)**0.5)}
                       for name, values in figures.items()} for label, figures in found.items()}
    rows = [(label, *(f"{figures[name]['mean']:.3f} +- {figures[name]['error']:.3f}" for name in figures))
            for label, figures in results.items()]
    measure.print_table(("map", "deletion", "insertion"), rows)
    measure.write_record(arguments, {"images": len(records), "maps": results})


if __name__ == "__main__":
    main()

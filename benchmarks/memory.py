"""Peak resident memory of a process that takes training steps, mindvit and its peers.

python -m benchmarks.memory --peers tutorial
"""

from benchmarks import measure


def main(words=None):
    parser = measure.parser(__doc__, repeats=2)
    measure.add_peers(parser, ["tutorial"])
    parser.add_argument("--batch", type=int, default=8, help="images a step (%(default)s)")
    arguments = measure.parse(parser, words)
    sizes = measure.model_sizes(arguments)
    results = {}
    for name in ["mindvit", *(peer for peer in arguments.peers if peer not in measure.RUN_A_FILE)]:
        python = {"python": arguments.peer_python[name]} if name in arguments.peer_python else {}
        job = {"task": f"benchmarks.networks:{name}", "threads": arguments.threads, "sizes": sizes,
               "batch": arguments.batch, "train": True, **python}
        results |= measure.measure_in_turn({name: job}, arguments.repeats)  # one at a time: memory is what is measured
    rows = []
    for name, result in results.items():
        if "skipped" in result:
            print(f"skipped {name}: {result['skipped']}")
            continue
        result["mindvit_share"] = results["mindvit"]["peak_mib"] / result["peak_mib"]
        rows.append((name, result["peak_mib"], result["mindvit_share"]))
    measure.print_table(("network", "peak MiB", "mindvit needs x"), rows)
    measure.write_record(arguments, results)


if __name__ == "__main__":
    main()

"""Writes timm_preparation.tsv beside timm.py: how timm prepares images for each of its plain ViT and DeiT weights.

python tests/data/write_timm_preparation.py   (where timm is installed)

A row a name, "architecture.tag", and what timm's table says of it; an architecture's first tag is its default. Names
that timm has retired have rows too.
"""

import pathlib

TABLE = pathlib.Path(__file__).parents[2] / "mindvit/checkpoints/libraries/timm_preparation.tsv"
COLUMNS = ("name", "mean", "std", "crop_pct", "interpolation", "crop_mode")


def rows():
    """The table's rows as lists of str, from the timm that is installed."""
    from timm.models import _registry

    for module in ("vision_transformer", "deit"):
        for architecture in sorted(_registry._module_to_models[module] & _registry._model_default_cfgs.keys()):
            table = _registry._model_default_cfgs[architecture]
            for tag in table.tags:
                yield row(f"{architecture}.{tag}".rstrip("."), table.cfgs[tag])
        for retired, name in _registry._module_to_deprecated_models[module].items():
            architecture, tag = name.split(".")
            if tag in (cfgs := _registry._model_default_cfgs[architecture].cfgs):  # timm itself names some wrongly
                yield row(retired, cfgs[tag])


def row(name, cfg):
    numbers = (" ".join(map(str, dict.fromkeys(values))) for values in (cfg.mean, cfg.std))
    return [name, *numbers, str(cfg.crop_pct), cfg.interpolation, cfg.crop_mode]


if __name__ == "__main__":
    import timm

    lines = [f"# written by {pathlib.Path(__file__).name} from timm {timm.__version__}", "\t".join(COLUMNS)]
    lines += ["\t".join(found) for found in rows()]
    TABLE.write_text("\n".join(lines) + "\n")

"""The model cards: the tables of docs/models.md are those of the code."""

import pathlib
import re

import mindvit
from mindvit.cli import main
from mindvit.models.variants import find_variant

PAGE = (pathlib.Path(__file__).parents[1] / "docs/models.md").read_text(encoding="utf-8")


def rows(start):
    """The cells of the rows whose first one begins so, without backquotes."""
    return [[cell.strip().replace("`", "") for cell in row[1:-1].split("|")]
            for row in re.findall(rf"^\| `{start}.*\|$", PAGE, re.MULTILINE)]


def test_the_table_is_that_of_the_command(capsys):
    assert main(["models"]) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [" ".join(filter(None, row)) for row in rows(r"\w+` \| \d")] == printed


def test_each_variant_has_a_card():
    carded = re.findall(r"^## Card: .*\n\n(.*)$", PAGE, re.MULTILINE)
    names = re.findall(r"`(\w+)`", " ".join(line.partition(";")[0] for line in carded))
    assert sorted(names) == sorted(mindvit.VARIANTS)


def test_names_of_timm_on_the_cards_are_read_as_the_variant_beside_them():
    files = rows(r"(?:vit|deit)_\w+` \| `(?:vit|deit)_")
    assert len(files) == 10
    for row in files:
        assert find_variant(row[1].removesuffix(".pth").rsplit("-")[0])[0] == row[0]


def test_the_cards_name_all_public_files_with_their_sizes():
    files = {row[0]: row for row in rows(r"\w+\.ckpt")}
    public = {file: (name, size) for name, variant in mindvit.VARIANTS.items() if name != "digits"
              for size, file in variant.public_files.items()}
    assert {file: (*row[1].split(", "),) for file, row in files.items()} == \
        {file: (name, str(size)) for file, (name, size) in public.items()}
    for file, (name, size) in public.items():
        variant = mindvit.VARIANTS[name]
        more = (size // variant.patch_size) ** 2 - (variant.image_size // variant.patch_size) ** 2
        megabytes = 4 * (variant.parameters + more * variant.embed_dim) / 1e6
        number, unit = re.search(r"([\d.]+) (MB|GB)", files[file][2]).groups()
        assert abs(float(number) * {"MB": 1, "GB": 1000}[unit] - megabytes) < 0.01 * megabytes


def test_the_digits_card_has_the_preparation_and_size_of_its_file():
    network = mindvit.create_model("digits", pretrained=True)
    assert "short side becomes 31, the centre of 28 x 28" in PAGE
    assert "short side to 31, centre 28 x 28" in network.preprocessing.describe(28)
    size = (pathlib.Path(mindvit.__file__).parent / "digits.ckpt").stat().st_size
    assert f"`mindvit/digits.ckpt`, {size / 1e6:.2f} MB" in PAGE

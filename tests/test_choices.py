"""Names with options, as configurations and flags write them."""

import inspect
import pathlib
import re

import pytest

from mindvit import DataConfig, TrainConfig
from mindvit.choices import choose
from mindvit.config import AUGMENTATIONS, DISTILLATIONS, MIXING, OPTIMIZERS, SCHEDULES, TRAINABLE


def crop(size, *, scale=(0.1, 1.0), name="bilinear", times=1):
    return size, tuple(scale), name, times


def plain(size):
    return size


@pytest.mark.parametrize("choice, expected", [
    ("crop", (7, (0.1, 1.0), "bilinear", 1)), ({"crop": [0.5, 1]}, (7, (0.5, 1), "bilinear", 1)),
    ({"crop": {"times": 2, "name": "bicubic"}}, (7, (0.1, 1.0), "bicubic", 2)),
    ({"crop": None}, (7, (0.1, 1.0), "bilinear", 1)), ({"plain": {}}, 7), ("plain", 7),
])
def test_a_name_with_or_without_options(choice, expected):
    assert choose(choice, {"crop": crop, "plain": plain}, "augment")(7) == expected


@pytest.mark.parametrize("choice, message", [
    ("crup", "augment is 'crup'; did you mean crop?"), ("x", "augment is 'x'; choose one of crop, plain"),
    ("crop:2", "augment is 'crop:2'; write a space behind the colon"),
    ({"crop": {"scales": [0, 1]}}, "augment: crop has no option 'scales'; did you mean scale?"),
    ({"plain": 3}, "augment: plain has no option 'value'; it has none"),
    ({"crop": 0.5}, "augment: scale of crop is 0.5; it takes 2 numbers in brackets, for example (0.1, 1.0)"),
    ({"crop": [1, 2, 3]}, "augment: scale of crop is [1, 2, 3]; it takes 2 numbers in brackets"),
    ({"crop": {"times": True}}, "augment: times of crop is True; it takes a whole number, for example 1"),
    ({"crop": {"times": 2.5}}, "augment: times of crop is 2.5; it takes a whole number, for example 1"),
    ({"crop": ["a", "b"]}, "augment: scale of crop is ['a', 'b']; it takes 2 numbers in brackets"),
    ({"crop": [0.1, None]}, "augment: scale of crop is [0.1, None]; it takes 2 numbers in brackets"),
    ({"crop": [0.1, float("nan")]}, "augment: scale of crop is [0.1, nan]; it takes 2 numbers in brackets"),
    ({"crop": {"name": 3}}, "augment: name of crop is 3; it takes a word"),
    ({"crop": 1, "plain": 2}, "write one name and its options"), ({}, "write one name and its options"),
    (3, "augment is 3; choose one of"), (None, "augment is None; choose one of"),
])
def test_a_wrong_choice_is_refused_with_what_to_write(choice, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        choose(choice, {"crop": crop, "plain": plain}, "augment")


def test_a_whole_number_stands_for_one_with_a_point():
    options = choose({"sgd": {"momentum": 0}}, OPTIMIZERS, "train.optimizer").keywords
    assert options == {"momentum": 0} and isinstance(options["momentum"], float)  # nn.Momentum takes no int


@pytest.mark.parametrize("config, words", [
    (DataConfig, {"augment": ["resize", "flop"]}), (TrainConfig, {"optimizer": "flop"}),
    (TrainConfig, {"schedule": {"flop": 1}}), (TrainConfig, {"optimizer": {"adamw": {"beta": 1}}}),
])
def test_a_config_refuses_a_wrong_choice_when_it_is_made(config, words):
    with pytest.raises(ValueError, match="flop|has no option 'beta'; did you mean beta"):
        config(**words)


def written(value):
    """A default as docs/recipes.md and docs/recipes_CN.md write it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else \
        re.sub("e-0", "e-", f"{value:g}") if isinstance(value, float) else str(value) or "FILE"


@pytest.mark.parametrize("page", ["recipes.md", "recipes_CN.md"])
@pytest.mark.parametrize("table", [AUGMENTATIONS, MIXING, OPTIMIZERS, SCHEDULES, TRAINABLE, DISTILLATIONS],
                         ids=["augment", "mixing", "optimizer", "schedule", "trainable", "distillation"])
def test_the_page_on_recipes_names_every_choice_with_its_options(table, page):
    text = (pathlib.Path(__file__).parents[1] / "docs" / page).read_text(encoding="utf-8").replace("、", ", ")
    for name, function in table.items():
        options = [part for part in inspect.signature(function).parameters.values() if part.kind is part.KEYWORD_ONLY]
        expected = ", ".join(f"`{part.name}` {written(part.default)}" for part in options)
        found = re.search(rf"^\| `{name}` \| (.*?) \|", text, re.MULTILINE)
        assert found and found[1].strip(" |").startswith(expected), (name, expected)

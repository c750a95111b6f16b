"""Libraries of an extra."""

import re
import sys

import pytest

from mindvit.extras import needed


def test_a_library_that_is_not_there_is_named_with_its_extra(monkeypatch):
    assert needed("json", "export") is sys.modules["json"]
    with pytest.raises(ValueError, match=re.escape("needs no_such_library, which is not installed; in the folder of "
                                                   "mindvit's setup.py: pip install '.[serve]'")):
        needed("no_such_library.part", "serve")

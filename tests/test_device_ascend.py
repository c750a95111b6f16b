"""What Ascend would be given, checked on a CPU against MindSpore's documentation; nothing here was run on Ascend."""

import pytest
from ascend import FILE, HEADER, OTHERS, documentation, forbidden, in_new_process, kind_of, read_graph, variants

COMMITTED = FILE.read_text(encoding="utf-8").removeprefix(HEADER).splitlines()
GRAPHS = {line.split()[0]: set(line.split(None, 2)[2].split(", ")) for line in COMMITTED}
NAMES = [*variants(2), *OTHERS]


@pytest.mark.parametrize("names", [["vit_t_16", "lion"], *(
    pytest.param(names, marks=pytest.mark.long) for names in (NAMES[::3], NAMES[1::3], NAMES[2::3]))], ids="-".join)
def test_the_operators_of_two_blocks_are_those_of_the_file(names):
    """Forward and training, O2, all dropouts, clipping, EMA and a dynamic loss scale; no float64, no dynamic shape."""
    of_these = set(map(kind_of, names))
    expected = {operator: {graph for graph in graphs if graph.rsplit(" ", 1)[0] in of_these
                           or "" in of_these and graph in ("forward", "training")}
                for operator, graphs in GRAPHS.items()}
    found = {line.split()[0]: set(line.split(None, 2)[2].split(", ")) for line in in_new_process(*names).splitlines()}
    assert found == {operator: graphs for operator, graphs in expected.items() if graphs}


@pytest.mark.long
@pytest.mark.parametrize("name", list(variants(2)))
def test_the_operators_of_all_blocks_are_among_them(name):
    """The whole depth, and accumulated gradients."""
    assert {line.split()[0] for line in in_new_process(name, full=True).splitlines()} <= set(GRAPHS)


@pytest.mark.parametrize("operator", GRAPHS)
def test_an_operator_is_documented_for_ascend(operator):
    assert "``Ascend``" in documentation(operator)[1]


def test_what_the_documentation_does_not_have_is_found_out():
    assert documentation("Lerp2") == (None, "")
    assert "``GPU``" in documentation("AdaptiveMaxPool3D")[1]
    assert "``Ascend``" not in documentation("AdaptiveMaxPool3D")[1]


def test_float64_dynamic_shapes_and_unknown_lines_are_found_out():
    graph = """%para1_x: <Tensor[Float32], (2, 3)>
  %0(y) = PrimFunc_Cast(%para1_x, I64(44)) cnode_attrs: {checkpoint: Bool(1)}
      : (<Tensor[Float32], (2, 3)>, <Int64, NoShape>) -> (<Tensor[Float64], (2, 3)>)
  %1(z) = Unique(%0)
      : (<Tensor[Float32], (6)>) -> (<Tensor[Float32], (-1)>)
  %2(CNode_3) = MakeTuple(%0, %1)
      : (<Tensor[Float32], (6)>) -> (<Tuple[Tensor[Float32]*2], TupleShape((2, 3), (6))>)
"""
    operators, types = read_graph(graph)
    assert operators == {"Cast", "Unique"} and len(types) == 4
    assert [line.split("-> ")[1] for line in forbidden(types)] == ["(<Tensor[Float64], (2, 3)>)",
                                                                   "(<Tensor[Float32], (-1)>)"]
    with pytest.raises(ValueError, match="no operator"):
        read_graph("  %0(y) = !strange(%1)")

"""The libraries whose checkpoints load, one file each, which hold a Library; a new file is all that another takes."""

import collections
import importlib
import pkgutil
import re

from mindvit.checkpoints.formats.stored import listed
from mindvit.checkpoints.library import Library

# What MindSpore's optimizers, loss scaling and ModelCheckpoint add to a training checkpoint.
TRAINING_STATE = re.compile(
    r"(learning_rate|weight_decay)(_group_\d+)?|global_step|beta[12]_power|momentum|(epoch|step)_num|state_step"
    r"|scale_sense|loss_scale|current_iterator_step|last_overflow_iterator_step")
PARAMETER_STATE = re.compile(
    r"^(accu_grads|accum(_update)?|adam_[mv]|ax_?|exp_avg(_sq)?|exp_inf|lamb_[mv]|linear|max_exp_avg_sq|mean_grad"
    r"|mean_square|moment[12s]?|momentum_buf|prev|stat|step_size|vhat)\.")


def find_libraries():
    """{name: Library} of every Library in the modules of this folder, by rank."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    libraries = [value for module in modules for value in vars(module).values() if isinstance(value, Library)]
    return {library.name: library for library in sorted(libraries, key=lambda library: library.rank)}


def written_formats():
    """The names of the libraries whose files mindvit writes."""
    return tuple(name for name, library in LIBRARIES.items() if library.writing)


LIBRARIES = find_libraries()


def recognise(names):
    """(Library, {mindvit's name: [names in the file]}, unknown names), the library that knows most of the names.

    Optimizer state is left out.

    Raises:
        ValueError: no library knows any of the names.
    """
    names = dict.fromkeys(names)
    kinds = collections.Counter(re.sub(r"(?<=[._])\d+(?=[./])", "0", name, count=1) for name in names)

    def count(library):
        return sum(number for kind, number in kinds.items()
                   if re.sub(r"(?<=[._])0(?=[./])", "{i}", library.spell(kind, names), count=1) in library.templates)

    counts = {library: count(library) for library in LIBRARIES.values() if library.names}
    library = max(counts, key=counts.get)
    if not counts[library]:
        known = ", ".join(library.name for library in counts)
        raise ValueError(f"its names are of no known library ({known}); they are {listed(names)}")
    sources, unknown = library.translate(names)
    if library.training_state:
        unknown = [name for name in unknown if not is_training_state(name, library)]
    if library.respelled and any(library.spell(name) != name for parts in sources.values() for name in parts):
        library = LIBRARIES[library.respelled]
    return library, sources, unknown


def is_training_state(name, library):
    """Whether the name is a step counter or an optimizer's state of a parameter that the library knows."""
    parameter = PARAMETER_STATE.sub("", name)
    return bool(TRAINING_STATE.fullmatch(name)) or parameter != name and not library.translate([parameter])[1]

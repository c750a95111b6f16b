"""mindvit: the Vision Transformer of the MindSpore Vision suite on today's MindSpore."""

import numpy

if int(numpy.__version__.split(".")[0]) >= 2:
    raise ImportError(f"numpy {numpy.__version__} is installed, with which MindSpore's PyNative kernels fail; "
                      "install an older one: pip install 'numpy<2'")

from mindvit.data import *  # noqa: F403
from mindvit.engine import *  # noqa: F403
from mindvit.models import *  # noqa: F403
from mindvit.visualize import *  # noqa: F403
from mindvit.weights import *  # noqa: F403

__version__ = "0.1.0"

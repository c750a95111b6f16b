"""`python -m mindvit` is the `mindvit` command."""

import sys

from mindvit.cli import main

sys.exit(main())

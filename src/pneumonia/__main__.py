"""`python -m pneumonia` is the command line, like `pneumonia`."""

import sys

from pneumonia.cli import main

sys.exit(main())

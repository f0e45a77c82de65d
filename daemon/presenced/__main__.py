"""`python -m presenced` is `presenced`."""

import sys

from presenced.cli import main

if __name__ == "__main__":
    sys.exit(main())

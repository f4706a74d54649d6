"""The same as `dff extract`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["extract", *sys.argv[1:]])

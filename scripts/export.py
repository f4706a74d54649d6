"""The same as `dff export`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])

"""The same as `dff demo`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["demo", *sys.argv[1:]])

"""The same as `dff demo-flow`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["demo-flow", *sys.argv[1:]])

"""The same as `dff evaluate-flow`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["evaluate-flow", *sys.argv[1:]])

"""The same as `dff measure-flow`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["measure-flow", *sys.argv[1:]])

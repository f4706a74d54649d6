"""The same as `dff benchmark`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["benchmark", *sys.argv[1:]])

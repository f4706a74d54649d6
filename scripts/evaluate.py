"""The same as `dff evaluate`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])

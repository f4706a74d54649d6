"""The same as `dff speedup`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["speedup", *sys.argv[1:]])

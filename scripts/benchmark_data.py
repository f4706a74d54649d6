"""The same as `dff benchmark-data`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["benchmark-data", *sys.argv[1:]])

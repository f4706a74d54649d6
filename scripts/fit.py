"""The same as `dff fit`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["fit", *sys.argv[1:]])

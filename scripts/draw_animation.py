"""The same as `dff draw-animation`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["draw-animation", *sys.argv[1:]])

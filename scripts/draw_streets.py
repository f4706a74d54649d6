"""The same as `dff draw`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["draw", *sys.argv[1:]])

"""The same as `dff predict`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])

"""The same as `dff convert`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["convert", *sys.argv[1:]])

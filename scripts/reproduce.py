"""The same as `dff reproduce`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["reproduce", *sys.argv[1:]])

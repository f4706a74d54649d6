"""The same as `dff live`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["live", *sys.argv[1:]])

"""The same as `dff check`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["check", *sys.argv[1:]])

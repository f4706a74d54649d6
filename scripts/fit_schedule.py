"""The same as `dff fit-schedule`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["fit-schedule", *sys.argv[1:]])

"""The same as `dff compare-schedules`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["compare-schedules", *sys.argv[1:]])

"""The same as `dff score-detections`."""

import sys

from dff.__main__ import main

if __name__ == "__main__":
    main(["score-detections", *sys.argv[1:]])

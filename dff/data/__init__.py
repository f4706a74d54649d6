"""What is on disk, as samples: plain PyTorch datasets that know no network."""

import gc
import os

# A forked worker has no thread of its parent's. Were its garbage collector to free a decoder or an
# encoder that the parent has left behind, it would wait for that one's threads for ever, and the
# parent for the worker. So a worker leaves what it has inherited alone.
os.register_at_fork(after_in_child=gc.freeze)

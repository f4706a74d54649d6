#!/bin/bash
# One list of videos, shared by 8 processes with a GPU each. On several machines, run this on each of
# them, where all see the same output folder; they need not know of each other.
torchrun --standalone --nproc_per_node 8 --no_python bash -c '
    export CUDA_VISIBLE_DEVICES=$LOCAL_RANK
    dff predict model.ckpt --list videos.txt --claim --output predictions || [ $? -eq 3 ]
'

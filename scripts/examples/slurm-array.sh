#!/bin/bash
# One list of videos, shared by the 16 tasks of an array: sbatch scripts/examples/slurm-array.sh
# Tasks may begin, end and be requeued at any time: what one leaves, another one takes.
#SBATCH --job-name=dff-predict
#SBATCH --array=0-15
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --requeue

# Exit code 3: all is done, and some videos cannot be predicted; they are named in the output.
dff predict model.ckpt --list videos.txt --claim --output predictions || [ $? -eq 3 ]

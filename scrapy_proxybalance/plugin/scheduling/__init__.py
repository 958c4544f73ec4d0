"""The scheduler's queue: lets out what can be sent at once, and keeps everything else."""

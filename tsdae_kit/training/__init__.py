"""The run: batches, the trainer, checkpoints, the run's folder and what is shown of it."""

"""What every training run shares: clock, average, random numbers, checkpoints, callbacks."""

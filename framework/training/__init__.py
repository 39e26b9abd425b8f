"""What every training shares: clock, average, random numbers, checkpoints, callbacks."""

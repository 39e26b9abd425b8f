"""The drag's judge and benchmark."""

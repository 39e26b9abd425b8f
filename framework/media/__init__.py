"""Pictures, masks and clips from and to files. Import the module you need."""

"""Pictures in and out. Import the module you need; nothing is loaded here."""

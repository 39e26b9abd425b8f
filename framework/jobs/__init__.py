"""What a person asks for, carried out: a request, its job, an outcome. Nothing here prints."""

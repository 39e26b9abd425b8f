"""The studio: a page on this machine on which points are dragged with the pointer."""

"""See ARCHITECTURE: the room `decision`."""

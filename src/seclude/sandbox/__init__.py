"""See ARCHITECTURE: the room `sandbox`."""

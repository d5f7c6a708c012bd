"""The version, without importlib.metadata (58 ms)."""

__version__ = "0.1.0"

"""Tell every open page, at once, who is looking at an object and who is changing it."""

__version__ = "1.0.0"

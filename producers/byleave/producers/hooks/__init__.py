"""Where events come from: each source is one file behind the interface of `source.py`."""

"""The redactor: admitted batches come in, sanitized batches go out.

In   batches that the fence admitted, opened into rows (`core.batches.AdmittedBatch`).
Out  rows of levels 1 to 3 (`SanitizedBatch`), and an account in which each admitted event stands exactly once.
Keeps promise P5: what must not travel does not. Text leaves only as whole, final words that are known to be harmless; what was
deleted while it was held never leaves; level 4 is counted and written nowhere.
"""

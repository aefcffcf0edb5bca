"""The sinks: sanitized records in; encrypted lake, keys and the record of every look out.

In    sanitized.{events,actions}.l{1,2}.v1 and reviewed.actions.l2.v1, signed by the redactor, sealed.
Out   Parquet files that only a released key opens; rows to readers whose look is on record first.
Keeps P3 (nobody sees what is not theirs), P4 (never in the clear), P6 (every look is on record), P8 (once, not twice).
"""

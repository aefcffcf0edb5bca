"""The endpoint: captures input by leave, and stops when leave ends.

In    hook events of this machine (or a recording), signed control documents, the person's own pause and halt files
Out   sealed, signed batches on `raw.events.v1`; requests and acknowledgements on the control topics; counts in `report.json`

Promises  P1: only what the manifest names, under a consent signed for exactly that manifest. P2: no fresh permit, no capture; a
halt kills the capture process and is proven by a signed acknowledgement. P4: content leaves memory only sealed to the redactor.
"""

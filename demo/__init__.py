"""The proof that everybody may watch: the whole way once, on one machine, by the product's own commands and processes.

In: nothing but this checkout. Out: a story in the terminal, the figures of the run, and an exit code that means it. Promises:
none of its own; `rehearsal` holds the product to P2, P4, P5, P6 and P8. It is not installed: a site has no need of it.
"""

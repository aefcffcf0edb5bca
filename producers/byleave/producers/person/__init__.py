"""What the person has in hand at their own machine: the sign that shows capture, and the page that says and stops it.

In: questions that the agent answers on its own socket. Out: what a person reads, and their own pause, resume and no.
Promises P7, and of P1 that nothing is captured unseen: where the sign is gone, capture stops.
"""

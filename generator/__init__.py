"""What follows from the topic catalogue and the role table, written down for other places: manifests, units, alerts, a page.

In: `schemas/byleave/schemas/topics.toml` and `roles.toml`. Out: `deploy/compose`, `deploy/systemd`, `deploy/prometheus`,
`deploy/strimzi` and `docs/topics.md`. Promises: P3 and P4, for a server that is set up by them. It is not installed: it writes
into a clone, and what it writes is committed there.
"""

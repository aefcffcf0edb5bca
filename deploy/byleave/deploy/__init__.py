"""Set-up: in come the topic catalogue and the role table; out go a broker, certificates, topics, ACLs and manifests.

Keeps P3: every right is generated from one catalogue, each principal has its own certificate, and all else is denied.
"""

"""The brake: signed documents in, permission or its absence out (P1, P2). Rules are pure; `cli` and `*_main` are edges."""

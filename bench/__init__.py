"""Speed goals, each with its ratio from one run. Nothing here is a test: `make bench` prints, people judge."""

"""What all rooms share: events, envelope, codec, errors, settings (pure), and the edges to Kafka, clock, log, metrics."""

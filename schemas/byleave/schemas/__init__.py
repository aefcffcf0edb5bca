"""What may travel: Avro schemas, the topic catalogue. Data files and nothing else (promises P1, P3)."""

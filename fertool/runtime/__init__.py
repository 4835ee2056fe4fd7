"""Files, locks, ranks, hardware and worker processes: what every stage runs on."""

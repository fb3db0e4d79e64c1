"""Telemetry for other systems: metrics that Prometheus scrapes, events and alerts to Kafka."""

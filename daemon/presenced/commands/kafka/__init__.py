"""Commands about the Kafka cluster."""

"""Events from Apache Kafka: a worker of a consumer group, and the transactions it writes."""

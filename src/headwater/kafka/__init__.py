"""The edge to Kafka: clients, readers, and the one place where Kafka's errors become ours."""

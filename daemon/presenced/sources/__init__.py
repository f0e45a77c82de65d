"""Where messages come from: one Source protocol, two MQTT transports, recordings."""

"""The two MQTT transports: awscrt for AWS IoT Core, aiomqtt for any broker."""

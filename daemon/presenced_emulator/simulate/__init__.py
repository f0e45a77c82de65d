"""The `simulate` command: a simulated fleet's event messages, published to a broker of your own."""

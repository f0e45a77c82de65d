"""The `simulate` command: a made-up fleet's events, published to a broker of one's own."""

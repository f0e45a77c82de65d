"""What presenced costs, measured beside its peers and bare limits: `make bench`."""

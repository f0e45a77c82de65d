"""A stage for the daemon: a broker that emits event messages as AWS IoT Core does, and a fleet.

Needs the extra `demo`, but for the modules that are pure. Nothing outside this package imports it,
except the `demo` command and, of the pure modules, `simulate`.
"""

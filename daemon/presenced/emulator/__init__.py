"""A stage for the daemon: a broker that emits event messages as AWS IoT Core does, and a fleet.

Needs the extra `demo`. Nothing outside this package imports it, except the `demo` command.
"""

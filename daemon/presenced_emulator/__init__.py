"""Commands that need a fleet of simulated devices: `demo` and `simulate`.

The package registers them as entry points of the group `presenced.commands`. It uses presenced;
presenced never imports it. Only the demo needs the packages of the extra `demo`.
"""

"""`presenced top`: is it us, how bad is it, and who, in a terminal."""

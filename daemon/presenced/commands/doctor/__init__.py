"""`presenced doctor`: the steps up to the first message, and which of them fails."""

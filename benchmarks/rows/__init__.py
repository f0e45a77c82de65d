"""One module for each row of the table; each measures by `measure(bench)`."""

"""What has changed since it was last written down."""


class Touched:
    """Names of all that changed, by kind; whoever writes it down takes them out.

    `disconnects` are those that are remembered as counted: the digest by number, None where it no
    longer is.
    """

    __slots__ = ("clients", "disconnects", "thing_groups", "thing_types", "things")

    def __init__(self) -> None:
        self.clients: set[str] = set()
        self.things: set[str] = set()
        self.thing_groups: set[str] = set()
        self.thing_types: set[str] = set()
        self.disconnects: dict[int, int | None] = {}

    def __bool__(self) -> bool:
        return bool(
            self.clients or self.things or self.thing_groups or self.thing_types or self.disconnects
        )

"""What has changed since it was last written down."""

__all__ = ["Touched"]


class Touched:
    """Names of all that changed, by kind; whoever writes it down takes them out."""

    __slots__ = ("clients", "thing_groups", "thing_types", "things")

    def __init__(self) -> None:
        self.clients: set[str] = set()
        self.things: set[str] = set()
        self.thing_groups: set[str] = set()
        self.thing_types: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.clients or self.things or self.thing_groups or self.thing_types)

"""What can go wrong, as exceptions. Owns their codes. Must not decide what happens next."""


class GridcastError(Exception):
    """Everything this package raises on purpose. `code` is a word to act on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class CommandError(GridcastError):
    """The server refused a command; `code` is the server's, such as `forbidden`."""


class NotConnectedError(GridcastError):
    """There was no connection in time. What was to be published was not."""

    def __init__(self, message: str) -> None:
        super().__init__("not_connected", message)


class MaybePublishedError(GridcastError):
    """A message was sent and its reply never came: it may have been published, or not."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, f"{message}: it may have been published")


class RefusedError(GridcastError):
    """The connection is over, and connecting again would end the same way.

    `status` is a close code (1000 and above) or an HTTP status (below).
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__("refused", f"{status} {message}")
        self.status = status


class ClosedError(GridcastError):
    """The client was used before it was entered or after it was closed."""

    def __init__(self, message: str = "the client is closed") -> None:
        super().__init__("closed", message)


class HttpError(GridcastError):
    """An HTTP request was refused, or its answer cannot be used. `status` 0 is no answer."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(code, message)
        self.status = status
        self.retry_after_s = retry_after_s


class WireError(GridcastError):
    """The server said what is not of the protocol. The connection is given up and made again."""

    def __init__(self, message: str) -> None:
        super().__init__("protocol", message)

"""curl: event streams and POST as a shell script would use them. Prints a row for each check.

Usage: curl.py ENGINE CHECKS, where CHECKS is a JSON array.
"""

import json
import re
import subprocess
import sys

PATIENCE_S = 15


def curl(*arguments, body=None):
    """What curl prints."""
    command = ["curl", "--silent", "--show-error", "--max-time", str(PATIENCE_S), *arguments]
    done = subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True)
    return done.stdout


def post(engine, topic, body, kind="text/plain"):
    """The reply to one message."""
    return json.loads(curl("--data-binary", "@-", "-H", f"Content-Type: {kind}",
                           f"{engine}/v1/publish/{topic}", body=body))


def events(engine, topic, count, *arguments):
    """The first events of a stream, as {field: value}; curl is ended after them."""
    stream = subprocess.Popen(
        ["curl", "--silent", "--no-buffer", "--max-time", str(PATIENCE_S), *arguments,
         "-H", "Accept: text/event-stream", f"{engine}/v1/feed/{topic}"],
        stdout=subprocess.PIPE, text=True,
    )
    told, event = [], {}
    try:
        for line in stream.stdout:
            field, _, value = line.rstrip("\n").partition(": ")
            if field in ("id", "event", "data"):
                event[field] = value
            elif not line.strip() and event:
                told.append(event)
                event = {}
            if len(told) == count:
                break
    finally:
        stream.kill()
        stream.wait()
    return told


def event_stream(engine, topic):
    first = post(engine, topic, b"one")
    post(engine, topic, b"\0\xff\1", "application/octet-stream")
    position = f"{first['epoch']}-{first['seq']}"
    both = events(engine, f"{topic}?from=oldest", 2)
    equal([event["data"] for event in both], ["one", "AP8B"])
    equal((both[0]["id"], both[1]["event"]), (position, "binary"))


def last_event_id(engine, topic):
    first = post(engine, topic, b"1")
    for body in (b"2", b"3"):
        post(engine, topic, body)
    position = f"Last-Event-ID: {first['epoch']}-{first['seq']}"
    equal([event["data"] for event in events(engine, topic, 2, "-H", position)], ["2", "3"])


def one_message(engine, topic):
    replies = [post(engine, topic, body, kind) for body, kind in
               [(b"text", "text/plain"), (b"{}", "application/json"), (b"\0", "image/png")]]
    equal([reply["seq"] for reply in replies], [1, 2, 3])
    equal(len({reply["epoch"] for reply in replies}), 1)
    equal([reply["subscribers"] for reply in replies], [0, 0, 0])


def many_messages(engine, topic):
    lines = b"".join(b'{"topic":"%s","data":%d}\n' % (topic.encode(), n) for n in range(3))
    reply = json.loads(curl("--data-binary", "@-", "-H", "Content-Type: application/x-ndjson",
                            f"{engine}/v1/publish", body=lines))
    equal(reply["published"], 3)
    told = events(engine, f"{topic}?from=oldest", 3)
    equal([event["data"] for event in told], ["0", "1", "2"])


def chunked_body(engine, topic):
    reply = json.loads(curl("-X", "POST", "-T", "-", "-H", "Content-Type: text/plain",
                            f"{engine}/v1/publish/{topic}", body=b"x" * 100_000))
    equal(reply["seq"], 1)


def expect_continue(engine, topic):
    shown = curl("-i", "--data-binary", "@-", "-H", "Expect: 100-continue",
                 "-H", "Content-Type: text/plain", f"{engine}/v1/publish/{topic}", body=b"x")
    holds(shown.startswith(b"HTTP/1.1 100 Continue") and b"HTTP/1.1 200" in shown, shown)


def one_connection(engine, _topic):
    shown = curl("--write-out", "%{num_connects} ", f"{engine}/healthz", f"{engine}/healthz")
    equal(re.findall(rb"\d+(?= )", shown), [b"1", b"0"])


def refusal(engine, topic):
    status = ["--write-out", "\n%{http_code}"]
    body, code = curl(*status, f"{engine}/v1/feed/{topic}?from=never",
                      "-H", "Accept: text/event-stream").rsplit(b"\n", 1)
    equal((code, "error" in json.loads(body)), (b"400", True))


CHECKS = {
    "event stream": event_stream,
    "Last-Event-ID": last_event_id,
    "POST one": one_message,
    "POST many": many_messages,
    "chunked body": chunked_body,
    "Expect": expect_continue,
    "keep-alive": one_connection,
    "refused option": refusal,
}


def equal(got, wanted):
    holds(got == wanted, f"{got} instead of {wanted}")


def holds(condition, message):
    if not condition:
        raise AssertionError(message)


def main(engine, checks):
    version = curl("--version").split()[1].decode()
    for at, check in enumerate(name for name in checks if name in CHECKS):
        row = {"client": "curl", "version": version, "check": check, "ok": True, "note": ""}
        try:
            CHECKS[check](engine, f"curl/{at}")
        except Exception as error:  # whatever it is, it is the row's note
            row.update(ok=False, note=f"{type(error).__name__}: {error}"[:200])
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))

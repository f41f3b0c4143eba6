"""Publishes the lines of its input (`key text`) to amq.topic, each until the broker has confirmed
it, and prints those that were. Connects again as often as it takes. Usage: publish.py PORT"""

import sys
import time

import pika
from pika.exceptions import AMQPError


def connect(port):
    while True:
        try:
            parameters = pika.ConnectionParameters("127.0.0.1", port, blocked_connection_timeout=5)
            channel = pika.BlockingConnection(parameters).channel()
            channel.confirm_delivery()
            return channel
        except (AMQPError, OSError):
            time.sleep(0.2)


def main():
    port = int(sys.argv[1])
    channel = connect(port)
    properties = pika.BasicProperties(delivery_mode=2)
    for line in sys.stdin:
        key, text = line.rstrip("\n").split(" ", 1)
        while True:
            try:
                channel.basic_publish("amq.topic", key, text.encode(), properties)
                break
            except (AMQPError, OSError):
                channel = connect(port)
        print(text, flush=True)


main()

"""Reads a durable queue that it binds to amq.topic, and prints each message as `key text`. Connects
again as often as it takes. Usage: consume.py PORT QUEUE KEY"""

import sys
import time

import pika
from pika.exceptions import AMQPError


def read(port, queue, key):
    channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)).channel()
    channel.queue_declare(queue, durable=True)
    channel.queue_bind(queue, "amq.topic", key)
    print("bound", flush=True)
    for method, _, body in channel.consume(queue):
        print(method.routing_key, body.decode(), flush=True)
        channel.basic_ack(method.delivery_tag)


def main():
    while True:
        try:
            read(int(sys.argv[1]), *sys.argv[2:])
        except (AMQPError, OSError):
            time.sleep(0.2)


main()

"""A producer or reader in kafka-python that speaks JSON lines with the nemesis.

usage: client.py produce BOOTSTRAP TOPIC
       client.py tail BOOTSTRAP TOPIC PARTITIONS
       client.py final BOOTSTRAP TOPIC RANGES      RANGES as in 0-120,7-44,0-0

A producer reads {"id": 1, "p": 0, "v": "...", "t": 1700000000000} and answers {"id": 1, "offset": 7} or
{"id": 1, "error": "..."}. A reader prints one line for each poll: [[partition, offset, value], ...].
The end of stdin ends both.
"""
import json
import logging
import sys
import threading

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

logging.disable(logging.CRITICAL)
lock = threading.Lock()


def tell(what):
    with lock:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


def produce(bootstrap, topic):
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True,
                             delivery_timeout_ms=3600000, max_block_ms=3600000,
                             request_timeout_ms=3000, metadata_max_age_ms=1000,
                             retry_backoff_ms=100, reconnect_backoff_max_ms=500)
    for line in sys.stdin:
        c = json.loads(line)
        sent = producer.send(topic, value=c["v"].encode(), partition=c["p"], timestamp_ms=c["t"])
        sent.add_callback(lambda done, i=c["id"]: tell({"id": i, "offset": done.offset}))
        sent.add_errback(lambda e, i=c["id"]: tell({"id": i, "error": repr(e)}))
    producer.flush()
    producer.close()


def reader(bootstrap, topic, partitions):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False,
                             auto_offset_reset="earliest", fetch_max_wait_ms=500,
                             request_timeout_ms=3000, metadata_max_age_ms=1000,
                             retry_backoff_ms=100, reconnect_backoff_max_ms=500)
    assigned = [TopicPartition(topic, p) for p in range(partitions)]
    consumer.assign(assigned)
    for partition in assigned:
        consumer.seek(partition, 0)
    return consumer


def poll(consumer):
    records = [[r.partition, r.offset, r.value.decode("latin-1")]
               for batch in consumer.poll(timeout_ms=500).values() for r in batch]
    if records:
        tell(records)
    return records


def tail(bootstrap, topic, partitions):
    ended = threading.Event()

    def await_end():
        sys.stdin.read()
        ended.set()

    threading.Thread(target=await_end, daemon=True).start()
    consumer = reader(bootstrap, topic, partitions)
    while not ended.is_set():
        poll(consumer)


def final(bootstrap, topic, ranges):
    ends = [end for _, end in ranges]
    consumer = reader(bootstrap, topic, len(ranges))
    for p, (start, _) in enumerate(ranges):
        consumer.seek(TopicPartition(topic, p), start)
    left = {p for p, (start, end) in enumerate(ranges) if end > start}
    while left:
        for partition, offset, _ in poll(consumer):
            if offset + 1 >= ends[partition]:
                left.discard(partition)


def main(mode, bootstrap, topic, *rest):
    bootstrap = bootstrap.split(",")
    if mode == "produce":
        produce(bootstrap, topic)
    elif mode == "tail":
        tail(bootstrap, topic, int(rest[0]))
    else:
        final(bootstrap, topic, [tuple(map(int, r.split("-"))) for r in rest[0].split(",")])


if __name__ == "__main__":
    main(*sys.argv[1:])

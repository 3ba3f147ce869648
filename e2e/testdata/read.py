"""Reads a topic with kafka-python, by assign and seek, and prints what it read.

usage: read.py BOOTSTRAP TOPIC PARTITIONS

One line per record: partition, offset, key and value, with tabs between. The last line tells where
a seek into the middle of partition 0 led: "seek WANTED GOT".
"""
import sys

from kafka import KafkaConsumer, TopicPartition


def main(bootstrap, topic, partitions):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False,
                             fetch_max_wait_ms=100)
    assigned = [TopicPartition(topic, p) for p in range(partitions)]
    consumer.assign(assigned)
    ends = consumer.end_offsets(assigned)
    for partition in assigned:
        consumer.seek(partition, 0)
    left = {p for p in assigned if ends[p] > 0}
    out = []
    while left:
        for partition, records in consumer.poll(timeout_ms=1000).items():
            for r in records:
                out.append(f"{partition.partition}\t{r.offset}\t{r.key.decode()}\t{r.value.decode()}\n")
            if records[-1].offset + 1 >= ends[partition]:
                left.discard(partition)
    sys.stdout.writelines(out)
    middle = ends[assigned[0]] // 2
    consumer.assign([assigned[0]])
    consumer.seek(assigned[0], middle)
    records = []
    while not records:
        records = [r for batch in consumer.poll(timeout_ms=1000).values() for r in batch]
    print(f"seek\t{middle}\t{records[0].offset}")
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

"""Is a member of a group with kafka-python until its stdin ends, and prints what it reads.

usage: group.py BOOTSTRAP TOPIC GROUP ASSIGNOR [INSTANCE]

ASSIGNOR is range or cooperative. One line per record: its value. What was read is committed before
the next poll.
"""
import sys
import threading

from kafka import KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError

ASSIGNORS = {"range": RangePartitionAssignor, "cooperative": CooperativeStickyAssignor}


def main(bootstrap, topic, group, assignor, instance=None):
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, group_instance_id=instance,
                             enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=100,
                             heartbeat_interval_ms=200, session_timeout_ms=10000, metadata_max_age_ms=1000,
                             partition_assignment_strategy=[ASSIGNORS[assignor]])
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        for records in consumer.poll(timeout_ms=200).values():
            for r in records:
                print(r.value.decode(), flush=True)
        try:
            consumer.commit()
        except KafkaError as e:
            # Between two generations nothing may be committed; what was read is read again.
            print(f"commit: {e}", file=sys.stderr)
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Drives kafka-python by the protocol that doc.go of this directory's parent draws."""
import sys
import threading
from base64 import b64decode, b64encode

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import AbortTransactionSpec, ConfigResource, ConfigResourceType
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

lock = threading.Lock()


def say(*fields):
    with lock:
        print("\t".join(str(f) for f in fields), flush=True)


def text(b):
    return b64encode(b or b"").decode()


def failure(e):
    return type(e).__name__ + " " + " ".join(str(e).split())


def produce(bootstrap, topic, codec, idempotent):
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=idempotent == "true",
                             compression_type=None if codec == "none" else codec, linger_ms=5)
    failed = []
    for line in sys.stdin:
        partition, key, value = line.rstrip("\n").split("\t")

        def acked(metadata, value=value):
            say("acked", metadata.partition, metadata.offset, value)

        producer.send(topic, key=b64decode(key), value=b64decode(value), partition=int(partition)) \
            .add_callback(acked).add_errback(failed.append)
    producer.flush(timeout=60)
    producer.close()
    if failed:
        raise failed[0]


class Listener(ConsumerRebalanceListener):
    def __init__(self):
        self.owned = set()

    def on_partitions_revoked(self, revoked):
        self.owned -= {p.partition for p in revoked}
        self.tell()

    def on_partitions_assigned(self, assigned):
        self.owned |= {p.partition for p in assigned}
        self.tell()

    def tell(self):
        say("assigned", ",".join(str(p) for p in sorted(self.owned)))


def consume(bootstrap, topic, group, protocol, instance, isolation):
    assignor = CooperativeStickyAssignor if protocol == "cooperative" else RangePartitionAssignor
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group or None, group_instance_id=instance or None,
                             enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=100,
                             heartbeat_interval_ms=200, session_timeout_ms=10000, metadata_max_age_ms=1000,
                             isolation_level=isolation, partition_assignment_strategy=[assignor])
    if group:
        consumer.subscribe([topic], listener=Listener())
        # Only a topic that is known before the first poll is in the metadata of the first join. Learning of it
        # later makes the leader join again, and kafka-python 3.0.12 forgets the outcome of such a join if poll()
        # times out before it is there: need_rejoin() then says no, so nobody takes the outcome, the heartbeat
        # that was turned off for the join stays off, and the member has nothing from then on. Kafka's brokers
        # see the same. README.md says what else helps.
        consumer.partitions_for_topic(topic)
    else:
        consumer.assign([TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic))])
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        for records in consumer.poll(timeout_ms=200).values():
            for r in records:
                say("record", r.partition, r.offset, text(r.key), text(r.value))
        if group:
            try:
                consumer.commit()
            except KafkaError as e:
                # Between two generations nothing may be committed; what was read is read again.
                print("commit:", failure(e), file=sys.stderr)
    consumer.close()


def transact(bootstrap, name, topic):
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", transactional_id=name)

    def run(word, *args):
        if word == "init":
            producer.init_transactions()
        elif word == "begin":
            producer.begin_transaction()
        elif word == "send":
            producer.send(topic, value=b64decode(args[1]), partition=int(args[0])).get(timeout=30)
        elif word == "offsets":
            group, source, partition, offset = args
            from kafka.structs import ConsumerGroupMetadata
            producer.send_offsets_to_transaction(
                {TopicPartition(source, int(partition)): OffsetAndMetadata(int(offset), "", -1)},
                ConsumerGroupMetadata(group, -1, "", None))
        elif word == "commit":
            producer.commit_transaction()
        elif word == "abort":
            producer.abort_transaction()
        return []

    converse(run)
    producer.close(timeout=5)


def administer(bootstrap):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def resource(kind, name, configs):
        kind = ConfigResourceType.TOPIC if kind == "topics" else ConfigResourceType.BROKER
        return ConfigResource(kind, name, configs)

    def alter(kind, name, key, edit):
        for said in admin.alter_configs([resource(kind, name, {key: edit})]).values():
            if said[name] != "OK":
                raise RuntimeError(said[name])

    def config(topic):
        of = ConfigResource(ConfigResourceType.TOPIC, topic, None)
        return admin.describe_configs([of], config_filter="all")["topic"][topic]

    def run(word, *args):
        if word == "create":
            topic, partitions, factor, key, value = args
            admin.create_topics({topic: {"num_partitions": int(partitions), "replication_factor": int(factor),
                                         "configs": {key: value}}})
        elif word == "describe":
            found = admin.describe_topics([args[0]])[0]
            if found["error_code"]:
                raise RuntimeError(f"error code {found['error_code']}")
            return [len(found["partitions"]), len(found["partitions"][0]["replica_nodes"])]
        elif word == "config":
            return [config(args[0])[args[1]]["value"]]
        elif word == "alter":
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, args[0], {args[1]: args[2]})])
        elif word == "config-of":
            kind, name, key = args
            found = next(iter(admin.describe_configs([resource(kind, name, None)], config_filter="all").values()))
            own = next(iter(found.values())).get(key)
            return [own["value"] if own and own["config_source"].startswith("DYNAMIC") else "none"]
        elif word == "set-config":
            alter(*args[:3], ("SET", args[3]))
        elif word == "delete-config":
            alter(*args[:3], ("DELETE", None))
        elif word == "partitions":
            admin.create_partitions({args[0]: int(args[1])})
        elif word == "delete":
            admin.delete_topics([args[0]])
        elif word == "list":
            return [args[0] in admin.list_topics()]
        elif word == "delete-records":
            at = TopicPartition(args[0], int(args[1]))
            return [admin.delete_records({at: int(args[2])})[at]["low_watermark"]]
        elif word == "reassign":
            to = [int(b) for b in args[2].split(",")]
            for error in admin.alter_partition_reassignments({TopicPartition(args[0], int(args[1])): to}).values():
                if error:
                    raise error
        elif word == "reassigning":
            return [len(admin.list_partition_reassignments({args[0]: [int(args[1])]}))]
        elif word == "log-dirs":
            found = admin.describe_log_dirs([args[0]])
            return [sum(any(t["name"] == args[0] for t in d["topics"]) for b in found for d in dirs(b))]
        elif word == "elect":
            admin.elect_leaders(0, {args[0]: [int(args[1])]})
        elif word == "groups":
            return [any(g["group_id"] == args[0] for g in admin.list_groups())]
        elif word == "group":
            found = admin.describe_groups([args[0]])[args[0]]
            return [found["group_state"], len(found["members"])]
        elif word == "offset":
            return [admin.list_group_offsets([args[0]])[args[0]][TopicPartition(args[1], int(args[2]))].offset]
        elif word == "reset":
            at = {TopicPartition(args[1], int(args[2])): OffsetAndMetadata(int(args[3]), "", -1)}
            checked(admin.alter_group_offsets(args[0], at))
        elif word == "delete-group":
            said = admin.delete_groups([args[0]])[args[0]]
            if said != "OK":
                raise RuntimeError(said)
        elif word == "delete-offset":
            at = TopicPartition(args[1], int(args[2]))
            error = admin.delete_group_offsets(args[0], [at])[at]
            if error.errno:
                raise error()
        elif word == "hanging":
            return [any(TopicPartition(args[0], int(args[1])) in t["topic_partitions"]
                        for t in admin.find_hanging_transactions())]
        elif word == "abort-at":
            at = TopicPartition(args[0], int(args[1]))
            found = [p for p in admin.describe_producers([at])[at].active_producers
                     if p.current_transaction_start_offset == int(args[2])]
            if not found:
                raise RuntimeError("no transaction begins there")
            admin.abort_transaction(AbortTransactionSpec(at, found[0].producer_id, found[0].producer_epoch))
        elif word == "transactions":
            return [any(t.transactional_id == args[0] for listed in admin.list_transactions().values() for t in listed)]
        elif word == "transaction":
            return [admin.describe_transactions([args[0]])[args[0]].state.value]
        else:
            raise NotImplementedError(word)
        return []

    converse(run)
    admin.close()


def dirs(broker):
    return broker["log_dirs"] if "log_dirs" in broker else broker["results"]


def checked(results):
    for error in results.values():
        if error.errno:
            raise error


def converse(run):
    for line in sys.stdin:
        try:
            say("ok", *run(*line.rstrip("\n").split("\t")))
        except Exception as e:  # whatever it is, the test judges it
            say("error", failure(e))


if __name__ == "__main__":
    modes = {"produce": produce, "consume": consume, "transact": transact, "admin": administer}
    modes[sys.argv[2]](sys.argv[1], *sys.argv[3:])

"""Drives confluent-kafka (librdkafka) by the protocol that doc.go of this directory's parent draws."""
import sys
import threading
from base64 import b64decode, b64encode

from confluent_kafka import (Consumer, ConsumerGroupTopicPartitions, ElectionType,
                             KafkaException, Producer, ShareConsumer, TopicCollection, TopicPartition)
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,
                                   NewTopic, ResourceType)

# The sources of what was set while brokers run: of a topic, of a broker, of all brokers.
DYNAMIC = (1, 2, 3)

lock = threading.Lock()


def say(*fields):
    with lock:
        print("\t".join(str(f) for f in fields), flush=True)


def text(b):
    return b64encode(b or b"").decode()


def failure(e):
    if isinstance(e, KafkaException) and hasattr(e.args[0], "name"):
        return e.args[0].name() + " " + " ".join(e.args[0].str().split())
    return type(e).__name__ + " " + " ".join(str(e).split())


def produce(bootstrap, topic, codec, idempotent):
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": idempotent == "true",
                         "compression.type": codec, "linger.ms": 5})
    failed = []

    def told(error, message):
        if error is not None:
            failed.append(error)
        else:
            say("acked", message.partition(), message.offset(), text(message.value()))

    for line in sys.stdin:
        partition, key, value = line.rstrip("\n").split("\t")
        producer.produce(topic, key=b64decode(key), value=b64decode(value), partition=int(partition), on_delivery=told)
        producer.poll(0)
    left = producer.flush(60)
    if failed or left:
        raise RuntimeError(f"{left} left, {failed[:1]}")


def share(bootstrap, topic, group):
    consumer = ShareConsumer({"bootstrap.servers": bootstrap, "group.id": group, "fetch.wait.max.ms": 100})
    consumer.subscribe([topic])
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        for m in consumer.poll(timeout=0.2):
            if m.error():
                print(m.error(), file=sys.stderr)
            else:
                say("record", m.partition(), m.offset(), text(m.key()), text(m.value()))
        for partition, error in consumer.commit_sync().items():
            if error is not None:
                print("acknowledge:", partition, failure(error), file=sys.stderr)
    consumer.close()


def consume(bootstrap, topic, group, protocol, instance, isolation):
    if protocol == "share":
        return share(bootstrap, topic, group)
    config = {"bootstrap.servers": bootstrap, "group.id": group or "none", "enable.auto.commit": False,
              "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100, "isolation.level": isolation,
              "topic.metadata.refresh.interval.ms": 1000}
    if protocol == "consumer":
        config["group.protocol"] = "consumer"
    else:
        config |= {"session.timeout.ms": 10000, "heartbeat.interval.ms": 200,
                   "partition.assignment.strategy": "cooperative-sticky" if protocol == "cooperative" else "range"}
    if instance:
        config["group.instance.id"] = instance
    consumer = Consumer(config)
    incremental = protocol in ("cooperative", "consumer")
    owned = set()

    def tell():
        say("assigned", ",".join(str(p) for p in sorted(owned)))

    def assigned(c, partitions):
        owned.update(p.partition for p in partitions)
        (c.incremental_assign if incremental else c.assign)(partitions)
        tell()

    def revoked(c, partitions):
        owned.difference_update(p.partition for p in partitions)
        c.incremental_unassign(partitions) if incremental else c.unassign()
        tell()

    if group:
        consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    else:
        count = len(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, p, 0) for p in range(count)])
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        messages = consumer.consume(500, timeout=0.2)
        for m in messages:
            if m.error():
                print(m.error(), file=sys.stderr)
            else:
                say("record", m.partition(), m.offset(), text(m.key()), text(m.value()))
        if group and messages:
            try:
                consumer.commit(asynchronous=False)
            except KafkaException as e:
                # Between two generations nothing may be committed; what was read is read again.
                print("commit:", failure(e), file=sys.stderr)
    consumer.close()


def transact(bootstrap, name, topic):
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name})

    def send(partition, value):
        told = []
        producer.produce(topic, value=b64decode(value), partition=int(partition), on_delivery=lambda e, m: told.append(e))
        producer.flush(30)
        if not told or told[0] is not None:
            raise KafkaException(*told)

    def offsets(group, source, partition, offset):
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
        producer.send_offsets_to_transaction([TopicPartition(source, int(partition), int(offset))],
                                             consumer.consumer_group_metadata(), 30)
        consumer.close()

    def run(word, *args):
        if word == "init":
            producer.init_transactions(30)
        elif word == "begin":
            producer.begin_transaction()
        elif word == "send":
            send(*args)
        elif word == "offsets":
            offsets(*args)
        elif word == "commit":
            producer.commit_transaction(30)
        elif word == "abort":
            producer.abort_transaction(30)
        return []

    converse(run)


def administer(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def one(futures):
        return next(iter(futures.values())).result(30)

    def resource(kind, name, **more):
        kind = ResourceType.TOPIC if kind == "topics" else ResourceType.BROKER
        return ConfigResource(kind, "" if name == "default" else name, **more)

    def alter(kind, name, entry):
        one(admin.incremental_alter_configs([resource(kind, name, incremental_configs=[entry])]))

    def run(word, *args):
        if word == "create":
            topic, partitions, factor, key, value = args
            one(admin.create_topics([NewTopic(topic, int(partitions), int(factor), config={key: value})]))
        elif word == "describe":
            found = one(admin.describe_topics(TopicCollection([args[0]])))
            return [len(found.partitions), len(found.partitions[0].replicas)]
        elif word == "config":
            return [one(admin.describe_configs([ConfigResource(ResourceType.TOPIC, args[0])]))[args[1]].value]
        elif word == "alter":
            entry = ConfigEntry(args[1], args[2], incremental_operation=AlterConfigOpType.SET)
            one(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, args[0], incremental_configs=[entry])]))
        elif word == "config-of":
            found = one(admin.describe_configs([resource(*args[:2])])).get(args[2])
            return [found.value if found and found.source in DYNAMIC else "none"]
        elif word == "set-config":
            alter(*args[:2], ConfigEntry(args[2], args[3], incremental_operation=AlterConfigOpType.SET))
        elif word == "delete-config":
            alter(*args[:2], ConfigEntry(args[2], None, incremental_operation=AlterConfigOpType.DELETE))
        elif word == "partitions":
            one(admin.create_partitions([NewPartitions(args[0], int(args[1]))]))
        elif word == "delete":
            one(admin.delete_topics([args[0]]))
        elif word == "list":
            return [args[0] in admin.list_topics(timeout=30).topics]
        elif word == "delete-records":
            return [one(admin.delete_records([TopicPartition(args[0], int(args[1]), int(args[2]))])).low_watermark]
        elif word == "elect":
            said = admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(args[0], int(args[1]))]).result(30)
            for error in said.values():
                if error is not None and error.name() != "ELECTION_NOT_NEEDED":
                    raise KafkaException(error)
        elif word == "groups":
            return [any(g.group_id == args[0] for g in admin.list_consumer_groups().result(30).valid)]
        elif word == "group":
            found = one(admin.describe_consumer_groups([args[0]]))
            return [found.state.name.capitalize(), len(found.members)]
        elif word == "offset":
            asked = ConsumerGroupTopicPartitions(args[0], [TopicPartition(args[1], int(args[2]))])
            return [one(admin.list_consumer_group_offsets([asked])).topic_partitions[0].offset]
        elif word == "reset":
            to = ConsumerGroupTopicPartitions(args[0], [TopicPartition(args[1], int(args[2]), int(args[3]))])
            for p in one(admin.alter_consumer_group_offsets([to])).topic_partitions:
                if p.error:
                    raise KafkaException(p.error)
        elif word == "delete-group":
            one(admin.delete_consumer_groups([args[0]]))
        else:
            raise NotImplementedError(word)
        return []

    converse(run)


def converse(run):
    for line in sys.stdin:
        try:
            say("ok", *run(*line.rstrip("\n").split("\t")))
        except Exception as e:  # whatever it is, the test judges it
            say("error", failure(e))


if __name__ == "__main__":
    modes = {"produce": produce, "consume": consume, "transact": transact, "admin": administer}
    modes[sys.argv[2]](sys.argv[1], *sys.argv[3:])

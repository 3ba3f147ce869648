// Drives kafkajs by the protocol that doc.go of this directory's parent draws.
const readline = require("node:readline");
const { Kafka, logLevel, CompressionTypes, CompressionCodecs } = require("kafkajs");
CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");

const say = (...fields) => process.stdout.write(fields.join("\t") + "\n");
const text = (b) => (b || Buffer.alloc(0)).toString("base64");
const bytes = (s) => Buffer.from(s, "base64");
const failure = (e) => [e.name, e.type, (e.cause && e.cause.type) || "", e.message].join(" ").replace(/\s+/g, " ");
const log = () => ({ label, log: l }) => process.stderr.write(`${label} ${l.message} ${l.error || ""} ${l.stack || ""}\n`);

const input = () => readline.createInterface({ input: process.stdin });

async function produce(kafka, topic, codec, idempotent) {
  const producer = kafka.producer({ idempotent: idempotent === "true", maxInFlightRequests: 1, retry: { retries: 100 } });
  await producer.connect();
  const compression = { none: 0, gzip: 1, snappy: 2 }[codec];
  let batch = [];
  // One send for each partition: when a part of a send fails, kafkajs 2.2 asks only the brokers that have not
  // answered yet, and drops the part of a partition that has moved to one that has.
  const flush = async () => {
    const sent = new Map();
    for (const m of batch) sent.set(m.partition, [...(sent.get(m.partition) || []), m]);
    batch = [];
    for (const messages of sent.values()) {
      await producer.send({ topic, acks: -1, compression, messages });
      for (const m of messages) say("acked", m.partition, -1, text(m.value));
    }
  };
  for await (const line of input()) {
    const [partition, key, value] = line.split("\t");
    batch.push({ partition: Number(partition), key: bytes(key), value: bytes(value) });
    if (batch.length >= 20) await flush();
  }
  await flush();
  await producer.disconnect();
}

async function consume(kafka, topic, group, protocol, instance, isolation) {
  const consumer = kafka.consumer({
    groupId: group || `alone-${process.pid}`, sessionTimeout: 10000, heartbeatInterval: 200, maxWaitTimeInMs: 100,
    metadataMaxAge: 1000, readUncommitted: isolation === "read_uncommitted",
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    if (group) say("assigned", [...(payload.memberAssignment[topic] || [])].sort((a, b) => a - b).join(","));
  });
  consumer.on(consumer.events.REBALANCING, () => group && say("assigned", ""));
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: Boolean(group), autoCommitThreshold: 1, // a commit for each record: who shares a topic reads none twice
    eachMessage: async ({ partition, message: m }) => say("record", partition, m.offset, text(m.key), text(m.value)),
  });
  for await (const _ of input());
  await consumer.disconnect();
}

async function transact(kafka, name, topic) {
  const producer = kafka.producer({ transactionalId: name, idempotent: true, maxInFlightRequests: 1, retry: { retries: 3 } });
  let tx;
  const words = {
    init: () => producer.connect(),
    begin: async () => { tx = await producer.transaction(); },
    send: (partition, value) => tx.send({ topic, messages: [{ partition: Number(partition), value: bytes(value) }] }),
    offsets: (group, source, partition, offset) => tx.sendOffsets({
      consumerGroupId: group, topics: [{ topic: source, partitions: [{ partition: Number(partition), offset }] }],
    }),
    commit: () => tx.commit(),
    abort: () => tx.abort(),
  };
  await converse(words);
  await producer.disconnect();
}

async function administer(kafka) {
  const admin = kafka.admin();
  await admin.connect();
  const configs = async (topic) => (await admin.describeConfigs({ resources: [{ type: 2, name: topic }] })).resources[0].configEntries;
  const words = {
    create: async (topic, numPartitions, replicationFactor, name, value) => {
      const created = await admin.createTopics({ topics: [{ topic, numPartitions: +numPartitions, replicationFactor: +replicationFactor, configEntries: [{ name, value }] }] });
      if (!created) throw new Error("the topic exists");
    },
    describe: async (topic) => {
      const found = (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions;
      return [found.length, found[0].replicas.length];
    },
    config: async (topic, key) => [(await configs(topic)).find((c) => c.configName === key).configValue],
    alter: async (topic, name, value) => {
      await admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: topic, configEntries: [{ name, value }] }] });
    },
    partitions: async (topic, count) => { await admin.createPartitions({ topicPartitions: [{ topic, count: +count }] }); },
    delete: async (topic) => { await admin.deleteTopics({ topics: [topic] }); },
    list: async (topic) => [(await admin.listTopics()).includes(topic) ? "True" : "False"],
    "delete-records": async (topic, partition, offset) => {
      await admin.fetchTopicOffsets(topic); // else it knows of no leader
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: +partition, offset }] });
      return [(await admin.fetchTopicOffsets(topic)).find((p) => p.partition === +partition).low];
    },
    reassign: async (topic, partition, replicas) => {
      await admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment: [{ partition: +partition, replicas: replicas.split(",").map(Number) }] }] });
    },
    reassigning: async (topic, partition) =>
      [(await admin.listPartitionReassignments({ topics: [{ topic, partitions: [+partition] }] })).topics.length],
    groups: async (group) => [(await admin.listGroups()).groups.some((g) => g.groupId === group) ? "True" : "False"],
    group: async (group) => {
      const found = (await admin.describeGroups([group])).groups[0];
      return [found.state, found.members.length];
    },
    offset: async (groupId, topic, partition) =>
      [(await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions.find((p) => p.partition === +partition).offset],
    reset: async (groupId, topic, partition, offset) => {
      await admin.setOffsets({ groupId, topic, partitions: [{ partition: +partition, offset }] });
    },
    "delete-group": async (group) => { await admin.deleteGroups([group]); },
  };
  await converse(words);
  await admin.disconnect();
}

async function converse(words) {
  for await (const line of input()) {
    const [word, ...args] = line.split("\t");
    try {
      const said = await words[word](...args);
      say("ok", ...(Array.isArray(said) ? said : []));
    } catch (e) { // whatever it is, the test judges it
      say("error", failure(e));
    }
  }
}

const [bootstrap, mode, ...args] = process.argv.slice(2);
const kafka = new Kafka({ clientId: "interop", brokers: bootstrap.split(","), logLevel: logLevel.WARN, logCreator: log });
({ produce, consume, transact, admin: administer })[mode](kafka, ...args).catch((e) => {
  process.stderr.write(failure(e) + "\n");
  process.exit(1); // a call that fails leaves connections open, which would keep the process
});

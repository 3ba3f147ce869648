import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.internals.Exit;

/**
 * Drives the Java client by the protocol that doc.go of this directory's parent draws.
 *
 * usage: JavaDriver BOOTSTRAP transact ID TOPIC
 *        JavaDriver BOOTSTRAP tools
 *        JavaDriver BOOTSTRAP asks TOPIC
 *
 * In mode tools, a line names a main class of Kafka's, what it reads from its standard input in base64, and
 * its arguments; the answer is ok or error, and what it printed in base64. One JVM runs them all, since
 * its start costs more than most of them. Mode asks has the client ask what no tool asks of a cluster without security.
 */
public class JavaDriver {
    private static final PrintStream OUT = System.out;

    private interface Words {
        String[] run(String word, String[] args) throws Exception;
    }

    private static class Exited extends RuntimeException {
    }

    public static void main(String[] args) throws Exception {
        switch (args[1]) {
            case "tools" -> converse(JavaDriver::tool);
            case "asks" -> asks(args[0], args[2]);
            default -> transact(args[0], args[2], args[3]);
        }
        System.exit(0);
    }

    private static void converse(Words words) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] fields = line.split("\t", -1);
            try {
                String[] said = words.run(fields[0], Arrays.copyOfRange(fields, 1, fields.length));
                OUT.println(said.length == 0 ? "ok" : "ok\t" + String.join("\t", said));
            } catch (Throwable e) { // whatever it is, the test judges it
                Throwable cause = e instanceof ExecutionException ? e.getCause() : e;
                OUT.println("error\t" + (cause.getClass().getSimpleName() + " " + cause.getMessage()).replaceAll("\\s+", " "));
            }
            OUT.flush();
        }
    }

    private static String[] tool(String className, String[] args) throws Exception {
        // some tools catch what ends them, and end again
        int[] first = {-1};
        Exit.Procedure leave = (code, message) -> {
            first[0] = first[0] < 0 ? code : first[0];
            throw new Exited();
        };
        Exit.setExitProcedure(leave);
        Exit.setHaltProcedure(leave);
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream stream = new PrintStream(printed, true, StandardCharsets.UTF_8);
        System.setIn(new ByteArrayInputStream(Base64.getDecoder().decode(args[0])));
        System.setOut(stream);
        System.setErr(stream);
        try {
            Class.forName(className).getMethod("main", String[].class)
                .invoke(null, (Object) Arrays.copyOfRange(args, 1, args.length));
        } catch (InvocationTargetException e) {
            if (!(e.getCause() instanceof Exited)) {
                throw new IllegalStateException(e.getCause() + " " + printed.toString(StandardCharsets.UTF_8));
            }
        }
        if (first[0] > 0) {
            throw new IllegalStateException("exit code " + first[0] + ": " + printed.toString(StandardCharsets.UTF_8));
        }
        return new String[] {Base64.getEncoder().encodeToString(printed.toByteArray())};
    }

    private static void transact(String bootstrap, String name, String topic) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("transactional.id", name);
        config.put("max.block.ms", "30000");
        KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
        converse((word, args) -> {
            switch (word) {
                case "init" -> producer.initTransactions();
                case "begin" -> producer.beginTransaction();
                case "send" -> producer.send(new ProducerRecord<>(topic, Integer.parseInt(args[0]), null, Base64.getDecoder().decode(args[1]))).get();
                case "offsets" -> producer.sendOffsetsToTransaction(
                    Map.of(new TopicPartition(args[1], Integer.parseInt(args[2])), new OffsetAndMetadata(Long.parseLong(args[3]))),
                    new ConsumerGroupMetadata(args[0]));
                case "commit" -> producer.commitTransaction();
                case "abort" -> producer.abortTransaction();
                default -> throw new IllegalArgumentException(word);
            }
            return new String[0];
        });
        producer.close(Duration.ofSeconds(5));
    }

    /** Creates an ACL, and has the leader of a topic's partition say where the epoch of an offset ends. */
    private static void asks(String bootstrap, String topic) {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createAcls(List.of(new AclBinding(new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL),
                new AccessControlEntry("User:reader", "*", AclOperation.READ, AclPermissionType.ALLOW)))).all().get();
        } catch (ExecutionException | InterruptedException e) {
            System.err.println(e.getMessage()); // as it must be without security
        }
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "client.id", "seeker");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            TopicPartition at = new TopicPartition(topic, 0);
            consumer.assign(List.of(at));
            consumer.partitionsFor(topic);
            consumer.seek(at, new OffsetAndMetadata(1, Optional.of(0), ""));
            if (consumer.poll(Duration.ofSeconds(10)).isEmpty()) {
                throw new IllegalStateException("nothing is in " + topic);
            }
        }
    }
}

import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.requests.RequestHeader;

/**
 * Prints every request that Kafka's Java client can encode, in each of its versions, as Java encodes it: a line
 * in hexadecimal, header and body, without the size. Each comes twice: with a value in every field that the
 * version has, tagged ones too, and with null wherever that may stand.
 */
public class JavaRequests {
    private final Random random;
    private final boolean nulls;

    private JavaRequests(long seed, boolean nulls) {
        this.random = new Random(seed);
        this.nulls = nulls;
    }

    public static void main(String[] args) throws Exception {
        for (ApiKeys key : ApiKeys.values()) {
            if (!key.inScope(ApiMessageType.ListenerType.BROKER)) {
                continue;
            }
            // latestVersion takes those that are not stable yet with the others
            for (short version = key.oldestVersion(); version <= key.latestVersion(); version++) {
                for (boolean nulls : new boolean[] {false, true}) {
                    JavaRequests fill = new JavaRequests(key.id * 1000L + version, nulls);
                    ApiMessage body = key.messageType.newRequest();
                    fill.message(body, key.messageType.requestSchemas()[version]);
                    System.out.println(HexFormat.of().formatHex(encode(key, version, body)));
                }
            }
        }
    }

    private static byte[] encode(ApiKeys key, short version, ApiMessage body) {
        RequestHeader header = new RequestHeader(key, version, "java", 7);
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int headerSize = header.data().size(cache, header.headerVersion());
        ByteBuffer out = ByteBuffer.allocate(headerSize + body.size(cache, version));
        ByteBufferAccessor to = new ByteBufferAccessor(out);
        header.data().write(to, cache, header.headerVersion());
        body.write(to, cache, version);
        return out.array();
    }

    /** Sets what the schema of a version has. */
    private void message(Message m, Schema schema) throws Exception {
        for (BoundField bound : schema.fields()) {
            if (bound.def.type instanceof TaggedFields tagged) {
                for (var field : tagged.fields().values()) {
                    set(m, field.name, field.type);
                }
            } else {
                set(m, bound.def.name, bound.def.type);
            }
        }
    }

    private void set(Message m, String name, org.apache.kafka.common.protocol.types.Type type) throws Exception {
        Field field = m.getClass().getDeclaredField(camel(name));
        field.setAccessible(true);
        field.set(m, nulls && type.isNullable() ? null : value(field.getType(), field.getGenericType(), type));
    }

    private Object value(Class<?> java, Type generic, org.apache.kafka.common.protocol.types.Type type) throws Exception {
        if (java == boolean.class || java == Boolean.class) {
            return random.nextBoolean();
        } else if (java == byte.class || java == Byte.class) {
            return (byte) random.nextInt();
        } else if (java == short.class || java == Short.class) {
            return (short) random.nextInt();
        } else if (java == int.class || java == Integer.class) {
            // a port is an int of 16 bits
            return type == org.apache.kafka.common.protocol.types.Type.UINT16 ? random.nextInt(1 << 16) : random.nextInt();
        } else if (java == long.class || java == Long.class) {
            return random.nextLong();
        } else if (java == double.class) {
            return random.nextDouble();
        } else if (java == String.class) {
            return "s" + random.nextInt(1000);
        } else if (java == Uuid.class) {
            return new Uuid(random.nextLong(), random.nextLong());
        } else if (java == byte[].class) {
            return octets();
        } else if (java == ByteBuffer.class) {
            return ByteBuffer.wrap(octets());
        } else if (BaseRecords.class.isAssignableFrom(java)) {
            return MemoryRecords.readableRecords(ByteBuffer.wrap(octets()));
        } else if (Collection.class.isAssignableFrom(java)) {
            return collection(java, generic, type);
        } else if (Message.class.isAssignableFrom(java)) {
            return structure(java, (Schema) type);
        }
        throw new IllegalArgumentException("no value for a " + java);
    }

    /** Two elements, which a count of one or a size instead of a count would not pass for. */
    private Object collection(Class<?> java, Type generic, org.apache.kafka.common.protocol.types.Type type) throws Exception {
        Type of = generic instanceof ParameterizedType p ? p : java.getGenericSuperclass();
        Type element = ((ParameterizedType) of).getActualTypeArguments()[0];
        var elementType = type.arrayElementType().orElseThrow();
        @SuppressWarnings("unchecked")
        Collection<Object> all = java == List.class ? new ArrayList<>() : (Collection<Object>) java.getConstructor().newInstance();
        for (int i = 0; i < 2; i++) {
            all.add(value(element instanceof ParameterizedType p ? (Class<?>) p.getRawType() : (Class<?>) element, element, elementType));
        }
        return all;
    }

    private Message structure(Class<?> java, Schema schema) throws Exception {
        Constructor<?> make = java.getDeclaredConstructor();
        make.setAccessible(true);
        Message m = (Message) make.newInstance();
        message(m, schema);
        return m;
    }

    private byte[] octets() {
        byte[] b = new byte[1 + random.nextInt(6)];
        random.nextBytes(b);
        return b;
    }

    private static String camel(String name) {
        StringBuilder b = new StringBuilder();
        for (String word : name.split("_")) {
            b.append(b.isEmpty() ? word : Character.toUpperCase(word.charAt(0)) + word.substring(1));
        }
        return b.toString();
    }
}

package example;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Copies what happens to tickets into a database of its own, each event once. {@code mvn package}, then {@code java -cp
 * "target/classes:target/dependency/*" example.Subscriber}.
 */
public final class Subscriber {
  private Subscriber() {}

  public static void main(String[] arguments) throws IOException, SQLException {
    var json = new ObjectMapper();
    Map<String, Object> options =
        Map.of(
            "bootstrap.servers", setting("KAFKA", "127.0.0.1:9092"),
            "group.id", setting("GROUP", "example-java"),
            "auto.offset.reset", "earliest",
            "enable.auto.commit", false,
            "session.timeout.ms", 6000);
    try (var db = DriverManager.getConnection("jdbc:sqlite:" + setting("STORE", "tickets.db"));
        var consumer =
            new KafkaConsumer<>(options, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      Inbox.create(db);
      try (var statement = db.createStatement()) {
        statement.execute("create table if not exists history (subject text, sequence integer, type text)");
      }
      db.setAutoCommit(false);
      consumer.subscribe(List.of(setting("TOPIC", "deskbus.tickets.v1")));
      while (true) {
        for (var record : consumer.poll(Duration.ofSeconds(1))) {
          apply(db, json.readTree(record.value())); // an error ends the process, which begins again at this event
          db.commit(); // the effect and what was applied are one transaction
        }
        consumer.commitSync(); // afterwards: a crash in between repeats events, which the inbox skips
      }
    }
  }

  private static void apply(Connection db, JsonNode event) throws SQLException {
    var source = event.get("source").asText();
    var subject = event.get("subject").asText();
    var missing = Inbox.take(db, source, subject, event.get("sequence").asLong());
    if (missing < 0) {
      return;
    }
    if (missing > 0) {
      System.err.printf("%d events of %s about %s are missing%n", missing, source, subject);
    }
    try (var insert = db.prepareStatement("insert into history values (?, ?, ?)")) {
      insert.setString(1, subject);
      insert.setLong(2, event.get("sequence").asLong());
      insert.setString(3, event.get("type").asText());
      insert.executeUpdate();
    }
  }

  private static String setting(String name, String otherwise) {
    return System.getenv().getOrDefault(name, otherwise);
  }
}

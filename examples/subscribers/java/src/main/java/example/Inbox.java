package example;

import java.sql.Connection;
import java.sql.SQLException;

/** What has been applied: the last sequence number of each source and subject, in the subscriber's own database. */
final class Inbox {
  private Inbox() {}

  static void create(Connection db) throws SQLException {
    try (var statement = db.createStatement()) {
      statement.execute(
          "create table if not exists inbox (source varchar(250) not null, subject varchar(250) not null,"
              + " sequence bigint not null, primary key (source, subject))");
    }
  }

  /**
   * Records an event in the open transaction. Returns -1 if it was applied before, otherwise the number of events that
   * are missing before it. Two processes that take the same event at the same time: one gets -1 or an SQLException.
   */
  static long take(Connection db, String source, String subject, long sequence) throws SQLException {
    var last = last(db, source, subject);
    if (last == null) {
      update(db, "insert into inbox values (?, ?, ?)", source, subject, sequence);
      return 0; // a subscriber may begin anywhere
    }
    if (sequence <= last) {
      return -1;
    }
    var advance = "update inbox set sequence = ? where source = ? and subject = ? and sequence < ?";
    return update(db, advance, sequence, source, subject, sequence) == 0 ? -1 : sequence - last - 1;
  }

  private static Long last(Connection db, String source, String subject) throws SQLException {
    try (var select = db.prepareStatement("select sequence from inbox where source = ? and subject = ?")) {
      select.setString(1, source);
      select.setString(2, subject);
      try (var rows = select.executeQuery()) {
        return rows.next() ? rows.getLong(1) : null;
      }
    }
  }

  private static int update(Connection db, String sql, Object... values) throws SQLException {
    try (var statement = db.prepareStatement(sql)) {
      for (var i = 0; i < values.length; i++) {
        statement.setObject(i + 1, values[i]);
      }
      return statement.executeUpdate();
    }
  }
}

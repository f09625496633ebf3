// Copies what happens to tickets into a store of its own, each event once. `npm ci && npm run build && npm start`.
import { Kafka, logLevel } from "kafkajs";
import type { DeskbusEvent } from "./events.js";
import { Store } from "./store.js";

const { KAFKA = "127.0.0.1:9092", TOPIC = "deskbus.tickets.v1", GROUP = "example-typescript", STORE = "tickets.json" } =
  process.env;
const store = new Store(STORE);
const kafka = new Kafka({ clientId: GROUP, brokers: KAFKA.split(","), logLevel: logLevel.WARN });
const consumer = kafka.consumer({ groupId: GROUP, sessionTimeout: 6_000, heartbeatInterval: 1_000 });

await consumer.connect();
await consumer.subscribe({ topics: [TOPIC], fromBeginning: true });
await consumer.run({
  // An error is thrown to kafkajs, which reads the event again; offsets are committed after what was handled.
  eachMessage: async ({ message }) => {
    if (message.value === null) return;
    const event = JSON.parse(message.value.toString()) as DeskbusEvent;
    const missing = store.apply(event, (history) => {
      history.push({ subject: event.subject, sequence: event.sequence, type: event.type });
      switch (event.type) {
        case "deskbus.ticket.opened.v1": // the compiler knows the fields of each type
          console.log(`${event.data.ticket.id} opened through ${event.data.ticket.channel}`);
          break;
        default: // types that you do not know are skipped
      }
    });
    if (missing > 0) console.warn(`${missing} events of ${event.source} about ${event.subject} are missing`);
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void consumer.disconnect().then(() => process.exit(0)));
}

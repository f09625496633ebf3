// The subscriber's own data and what it has applied, in one file that is replaced as a whole: both change, or neither.
// With a database, write both in one transaction instead.
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import type { DeskbusEvent } from "./events.js";

interface Contents {
  /** Last sequence number applied, by source and subject. */
  applied: Record<string, number>;
  history: { subject: string; sequence: number; type: string }[];
}

export class Store {
  #contents: Contents;

  constructor(readonly path: string) {
    this.#contents = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : { applied: {}, history: [] };
  }

  /** Applies an event unless it was applied before, and returns the number of events missing before it. */
  apply(event: DeskbusEvent, effect: (history: Contents["history"]) => void): number {
    const place = JSON.stringify([event.source, event.subject]);
    const last = this.#contents.applied[place];
    if (last !== undefined && event.sequence <= last) return 0;
    const next = structuredClone(this.#contents);
    next.applied[place] = event.sequence;
    effect(next.history);
    this.#replace(next);
    return last === undefined ? 0 : event.sequence - last - 1;
  }

  #replace(next: Contents): void {
    const file = openSync(`${this.path}.new`, "w");
    try {
      writeSync(file, JSON.stringify(next));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${this.path}.new`, this.path);
    this.#contents = next;
  }
}

// Generates src/events.ts from the JSON Schemas of Deskbus: one interface per event, and their union `DeskbusEvent`.
// `npm run generate -- DIRECTORY` reads schemas from elsewhere, such as those in the wheel deskbus-contracts.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compile } from "json-schema-to-typescript";

const directory = process.argv[2] ?? "../../../contracts/schemas";
const root = { title: "DeskbusEvent", oneOf: [], $defs: {} };

/** Titles of fields, and references with a description of their own, would become types of their own. */
function simple(node) {
  if (Array.isArray(node)) return node.map(simple);
  if (node === null || typeof node !== "object") return node;
  if (typeof node.$ref === "string") return { $ref: node.$ref };
  return Object.fromEntries(
    Object.entries(node)
      .filter(([key, value]) => key !== "title" || typeof value !== "string")
      .map(([key, value]) => [key, simple(value)]),
  );
}

for (const file of readdirSync(directory).filter((name) => name.endsWith(".json")).sort()) {
  const { $schema, $defs = {}, ...schema } = JSON.parse(readFileSync(join(directory, file), "utf8"));
  const payload = schema.properties?.data?.$ref?.split("/").at(-1);
  if (payload === undefined || schema.properties.sequence === undefined) continue; // commands, and raw messages
  for (const [name, definition] of Object.entries($defs)) {
    root.$defs[name] = { ...simple(definition), title: name };
  }
  const title = `${payload}Event`;
  root.$defs[title] = { ...simple(schema), title };
  root.oneOf.push({ $ref: `#/$defs/${title}` });
}

const text = await compile(root, "DeskbusEvent", {
  additionalProperties: false,
  bannerComment: "// Generated from the JSON Schemas of Deskbus by `npm run generate`. Do not edit.",
  unreachableDefinitions: false,
});
writeFileSync("src/events.ts", text);

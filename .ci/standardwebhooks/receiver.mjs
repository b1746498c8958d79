// A receiver outside of our code: it trusts what npm standardwebhooks and npm
// svix both accept, and of v1a what Node's own crypto does. A body must also fit
// the JSON Schema, and its definition task_event, as npm ajv reads them.
//
//   node receiver.mjs PORT SECRET COUNT SCHEMA [PUBLIC_KEY [ADDRESS]]     PORT 0 picks a free one
//
// SCHEMA is a file. With PUBLIC_KEY (whpk_..., "" for none) a webhook must have a
// v1a signature by it too. ADDRESS is where it listens, else loopback.
// Prints "listening PORT", then "verified TYPE TASK_ID" or "refused WHY" for
// each POST. After COUNT verified webhooks it stays for two seconds: exit code
// 0 if no more came, 1 if one did.
import { createPublicKey, verify as verifySignature } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { Webhook } from "standardwebhooks";
import { Webhook as SvixWebhook } from "svix";

const [port, secret, count, schemaFile, publicKey, address = "127.0.0.1"] = process.argv.slice(2);
if (!port || !secret || !(Number(count) > 0) || !schemaFile) {
  console.error("usage: node receiver.mjs PORT SECRET COUNT SCHEMA [PUBLIC_KEY [ADDRESS]]");
  process.exit(2);
}
const libraries = [new Webhook(secret), new SvixWebhook(secret)];
const ed25519 = publicKey && createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x: keyBytes(publicKey) } });
const schema = JSON.parse(readFileSync(schemaFile, "utf8"));
// strict: a keyword that ajv does not know, or that cannot work, is an error
const ajv = addFormats(new Ajv2020({ strict: true, allowUnionTypes: true, allErrors: true }));
ajv.addSchema(schema);
const forms = ["", "#/$defs/task_event"].map((form) => ajv.getSchema(schema.$id + form));
let verified = 0;

function keyBytes(key) {
  if (!key.startsWith("whpk_")) throw new Error("PUBLIC_KEY must begin with whpk_");
  return Buffer.from(key.slice("whpk_".length), "base64").toString("base64url");
}

// By the specification one signature of the list is enough.
function verifyV1a(body, headers) {
  const signed = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
  const signatures = headers["webhook-signature"].split(" ").filter((one) => one.startsWith("v1a,"));
  const fits = (one) => verifySignature(null, signed, ed25519, Buffer.from(one.slice("v1a,".length), "base64"));
  if (!signatures.some(fits)) throw new Error(`none of ${signatures.length} v1a signatures fits`);
}

function verify(body, headers) {
  const [event] = libraries.map((library) => library.verify(body, headers));
  if (ed25519) verifyV1a(body, headers);
  for (const fits of forms) {
    if (!fits(event)) throw new Error(`the body does not fit the schema: ${ajv.errorsText(fits.errors)}`);
  }
  return event;
}

const server = createServer((req, res) => {
  const chunks = [];
  req.on("data", (chunk) => chunks.push(chunk));
  req.on("end", () => {
    try {
      const event = verify(Buffer.concat(chunks).toString("utf8"), req.headers);
      console.log(`verified ${event.type} ${event.data.task_id}`);
    } catch (error) {
      console.log(`refused ${error.message}`);
      res.writeHead(401).end();
      return;
    }
    res.writeHead(204).end();
    verified++;
    if (verified === Number(count)) setTimeout(() => process.exit(0), 2000);
    if (verified > Number(count)) process.exit(1);
  });
});
server.listen(Number(port), address, () => console.log(`listening ${server.address().port}`));

// A receiver outside of our code: it trusts what npm standardwebhooks accepts.
//
//   node receiver.mjs PORT SECRET COUNT     PORT 0 picks a free one
//
// Prints "listening PORT", then "verified TYPE TASK_ID" or "refused WHY" for
// each POST. After COUNT verified webhooks it stays for two seconds: exit code
// 0 if no more came, 1 if one did.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const [port, secret, count] = process.argv.slice(2);
if (!port || !secret || !(Number(count) > 0)) {
  console.error("usage: node receiver.mjs PORT SECRET COUNT");
  process.exit(2);
}
const webhook = new Webhook(secret);
let verified = 0;

const server = createServer((req, res) => {
  const chunks = [];
  req.on("data", (chunk) => chunks.push(chunk));
  req.on("end", () => {
    try {
      const event = webhook.verify(Buffer.concat(chunks).toString("utf8"), req.headers);
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
server.listen(Number(port), "127.0.0.1", () => console.log(`listening ${server.address().port}`));

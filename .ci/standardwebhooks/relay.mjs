// A relay outside of our code: one task, the documented example as its answer.
//
//   node relay.mjs PORT KEY     PORT 0 picks a free one
//
// Prints "listening PORT", then "answered" or "refused WHY" for each request.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const [port, key] = process.argv.slice(2);
if (!port || !key) {
  console.error("usage: node relay.mjs PORT KEY");
  process.exit(2);
}
const path = "/kling/v1/images/generations/CjMT7WdSwWcAAAAAALvB3g";
const reply = readFileSync(new URL("seed-reply.json", import.meta.url));
const headers = {
  "content-type": "application/json",
  accept: "application/json",
  authorization: `Bearer ${key}`,
};

function refusal(req) {
  if (req.method !== "GET") return `method ${req.method}`;
  if (req.url !== path) return `path ${req.url}`;
  for (const [name, value] of Object.entries(headers)) {
    if (req.headers[name] !== value) return `header ${name}`;
  }
}

const server = createServer((req, res) => {
  const why = refusal(req);
  console.log(why ? `refused ${why}` : "answered");
  res.writeHead(why ? 400 : 200, { "content-type": "application/json" });
  res.end(why ? JSON.stringify({ code: 1200, message: why }) : reply);
});
server.listen(Number(port), "127.0.0.1", () => console.log(`listening ${server.address().port}`));

// A program with types made of the specification: it does not compile where they are of
// no use, and fails where the service answers otherwise.
import createClient from "openapi-fetch";
import { EventSource } from "eventsource";
import type { components, paths } from "./api.js";

const { HOST, KEY } = process.env;
const authorization = { Authorization: `Bearer ${KEY}` };
const api = createClient<paths>({ baseUrl: HOST ?? "", headers: authorization });

function must<T>(answer: { data?: T; error?: components["schemas"]["Problem"] }): T {
  if (answer.error) throw new Error(`${answer.error.type}: ${answer.error.title}`);
  if (answer.data === undefined) throw new Error("there is no data");
  return answer.data;
}

function expect(what: string, got: unknown, want: unknown) {
  if (got !== want) throw new Error(`${what} is ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
  console.log(`${what}: ${got}`);
}

// the stream is there before the task is
const events: components["schemas"]["Event"][] = [];
const source = new EventSource(`${HOST}/v1/events`, {
  fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...authorization } }),
});
source.onmessage = (message) => events.push(JSON.parse(message.data));
await new Promise<void>((opened, failed) => { source.onopen = () => opened(); source.onerror = (e) => failed(new Error(e.message)); });

const body = { task_id: "typed-1", action: "videos", action2: "text2video", metadata: { from: "typescript" } };
const made = await api.POST("/v1/tasks", { body });
expect("status of the first request", made.response.status, 201);
const again = await api.POST("/v1/tasks", { body });
expect("status of the second", again.response.status, 200);
const one = must(made);
if ("data" in one) throw new Error("a list came for a task");

let task = one;
while (!task.finished_at) task = must(await api.GET("/v1/tasks/{id}", { params: { path: { id: one.id }, query: { wait: 20 } } }));
expect("end of the task", task.status satisfies components["schemas"]["Task"]["status"], "succeeded");
expect("kind of its file", task.outputs?.[0]?.kind, "video");

const found = must(await api.GET("/v1/tasks", { params: { query: { status: ["succeeded"], metadata: { from: "typescript" } } } }));
expect("tasks found by metadata", found.data.length, 1);
const missing = await api.GET("/v1/tasks/{id}", { params: { path: { id: 424242 } } });
expect("type of a problem", missing.error?.type, "/docs/problems/not-found");

for (const deadline = Date.now() + 10_000; !events.some((e) => e.type === "task.succeeded" && e.data["task_id"] === body.task_id); ) {
  if (Date.now() > deadline) throw new Error(`the stream has not told the end: ${JSON.stringify(events)}`);
  await new Promise((again) => setTimeout(again, 50));
}
source.close();
console.log("events of the stream:", events.length > 1);

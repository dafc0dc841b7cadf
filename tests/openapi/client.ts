// Compiled, not run: a client in strict TypeScript that uses each kind of path, parameter, body and response.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

const client = createClient<paths>({ baseUrl: "http://localhost:8095" });
type Employee = components["schemas"]["Employee"];

export async function logIn(username: string, password: string): Promise<string> {
  const { data, error } = await client.POST("/api/token", { body: { username, password } });
  if (error) throw new Error(error.error.message);
  return data.access;
}

export async function everyone(search: string): Promise<Employee[]> {
  const found: Employee[] = [];
  for (let offset = 0; ; offset += 100) {
    const { data } = await client.GET("/employees", { params: { query: { search, limit: 100, offset } } });
    if (data === undefined) return found;
    found.push(...data.results);
    const next: string | null = data.next;
    if (next === null) return found;
  }
}

export async function hire(phone: string, university_id: number): Promise<Employee | { id: number } | undefined> {
  const { data } = await client.POST("/employees", {
    params: { header: { "Idempotency-Key": crypto.randomUUID() } },
    body: { phone, university_id, role: "operator", max_id: "123" },
  });
  return data;
}

export async function rename(id: number, first_name: string): Promise<string | undefined> {
  const { data } = await client.PUT("/employees/{id}", { params: { path: { id } }, body: { first_name } });
  return data?.university.name;
}

export async function dismiss(id: number): Promise<boolean> {
  const { response } = await client.DELETE("/employees/{id}", { params: { path: { id } } });
  return response.status === 204;
}

export async function nameOf(user_id: string): Promise<string | undefined> {
  const { data } = await client.GET("/profiles/{user_id}", { params: { path: { user_id } } });
  return data?.display_name;
}

export async function step(percent: number): Promise<number | undefined> {
  const body = { phase: 3, percent, reason: "the gates pass" };
  const { data } = await client.POST("/monitoring/rollout/set", { body });
  return data?.percents?.["phase3_cache_first"];
}

export async function successRate(): Promise<number | undefined> {
  const { data } = await client.GET("/monitoring/webhook-stats", { params: { query: { period: "week" } } });
  return data?.last_24h.success_rate;
}

// @ts-expect-error: a change of the rollout needs a reason.
export const withoutReason: components["schemas"]["SetRequest"] = { phase: 3, percent: 5 };
// @ts-expect-error: a path id is an integer.
export const withText = () => client.GET("/employees/{id}", { params: { path: { id: "1" } } });

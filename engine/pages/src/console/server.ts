// What the console asks its server over HTTP. Owns the token, and how a refusal is told.

import { tokenHere } from "../shared/token.js";

const ANSWER_MS = 5_000;

export class Refused extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

let token = tokenHere();

export function currentToken(): string | undefined {
  return token;
}

export function useToken(text: string): void {
  token = text.trim() || undefined;
}

export async function ask(path: string): Promise<Response> {
  const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, signal: AbortSignal.timeout(ANSWER_MS) });
  if (answer.ok) return answer;
  const text = await answer.text();
  throw new Refused(answer.status, messageIn(text) ?? `${answer.status} ${answer.statusText}`);
}

function messageIn(text: string): string | undefined {
  try {
    return JSON.parse(text).error.message;
  } catch {
    return undefined;
  }
}

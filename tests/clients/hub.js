// The hub that these scripts talk to. HUB_URL says where it is; the name and the password of an administrator come on
// standard input, a line each: an argument would be seen by everyone who lists processes.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after } from 'node:test';

const PATIENCE = 30_000; // milliseconds until something that must come counts as lost: far beyond what is ever needed
const GLANCE = 20; // milliseconds between two looks

const [username, password] = readFileSync(0, 'utf8').split('\n');

export const url = process.env.HUB_URL;
export const admin = { username, password };
export const authorization = basic(username, password);

export function basic(name, secret) {
  return 'Basic ' + Buffer.from(`${name}:${secret}`).toString('base64');
}

// One plain request; the answer's JSON beside its status and headers.
export async function ask(method, path, body, headers = {}) {
  const response = await fetch(url + path, {
    method,
    headers: { authorization, 'content-type': 'application/json', ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: text ? JSON.parse(text) : null };
}

// The name of a new, empty database, which is gone when the script has ended.
export async function newDatabase() {
  const name = 'clients-' + randomUUID();
  assert.equal((await ask('PUT', '/' + name)).status, 201);
  made.push('/' + name);
  return name;
}

// A user's credentials; he is gone when the script has ended.
export async function newUser() {
  const name = 'user-' + randomUUID();
  const path = `/_users/org.couchdb.user:${name}`;
  const { status, json } = await ask('PUT', path, { name, password: 'a password', type: 'user', roles: [] });
  assert.equal(status, 201);
  made.push(`${path}?rev=${json.rev}`);
  return { username: name, password: 'a password' };
}

const made = [];
after(async () => {
  for (const path of made) await ask('DELETE', path);
});

// What `look` finds, as soon as that is something.
export async function until(what, look) {
  const last = Date.now() + PATIENCE;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < last, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, GLANCE));
  }
}

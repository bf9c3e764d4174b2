// PouchDB, with databases in memory and on the hub.

import { randomUUID } from 'node:crypto';
import http from 'pouchdb-adapter-http';
import memory from 'pouchdb-adapter-memory';
import PouchDB from 'pouchdb-core';
import find from 'pouchdb-find';
import replication from 'pouchdb-replication';
import { admin, url } from './hub.js';

PouchDB.plugin(http).plugin(memory).plugin(replication).plugin(find);

export { PouchDB };

export function local() {
  return new PouchDB(randomUUID(), { adapter: 'memory' });
}

export function remote(database, options = {}) {
  return new PouchDB(`${url}/${database}`, { auth: admin, skip_setup: true, ...options });
}

// Everything that two databases must agree upon: each document with its winner, its conflicts and its attachments.
export async function contents(database) {
  const { rows } = await database.allDocs({ include_docs: true, conflicts: true });
  return rows.map(({ doc }) => ({ ...doc, _conflicts: [...(doc._conflicts ?? [])].sort() }));
}

// The end of a live replication that is told to stop.
export function stopped(sync) {
  const end = new Promise((resolve, reject) => sync.on('complete', resolve).on('error', reject));
  sync.cancel();
  return end;
}

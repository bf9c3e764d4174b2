// What a CouchDB has and the hub has not is refused plainly, in answers that clients show.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import nano from 'nano';
import { ask, authorization, newDatabase, url } from './hub.js';

test('JavaScript on the server, and replication by the server, are not implemented', async () => {
  const name = await newDatabase();
  const server = nano({ url, headers: { Authorization: authorization } });
  const db = server.use(name);
  await db.insert({ views: { v: { map: 'function (doc) { emit(doc._id); }' } }, filters: { f: '' } }, '_design/d');
  const missing = { statusCode: 501, error: 'not_implemented' };
  await assert.rejects(db.view('d', 'v'), missing);
  await assert.rejects(db.changes({ filter: 'd/f' }), missing);
  await assert.rejects(server.db.replicate(name, 'elsewhere'), missing);
  await assert.rejects(db.view('never', 'v'), { statusCode: 404, error: 'not_found' });
  await assert.rejects(db.changes({ filter: 'd/never' }), { statusCode: 404, error: 'not_found' });
});

test('what is no database is not found', async () => {
  for (const path of ['/favicon.ico', '/_utils', '/Capital', '/_never']) {
    assert.equal((await ask('GET', path)).status, 404, path);
  }
});

// nano, CouchDB's own client for Node, finds on the hub what it finds on CouchDB.

import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import nano from 'nano';
import { admin, ask, newDatabase, until, url } from './hub.js';

const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

function server() {
  const address = new URL(url);
  address.username = encodeURIComponent(admin.username);
  address.password = encodeURIComponent(admin.password);
  return nano(address.href.replace(/\/$/, ''));
}

async function database() {
  return server().use(await newDatabase());
}

async function gathered(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

test('databases are created, listed, described, compacted and destroyed', async () => {
  const name = `nano-${randomUUID()}/with+odd$(signs)`;
  assert.deepEqual(await server().db.create(name), { ok: true });
  await assert.rejects(server().db.create(name), { statusCode: 412, error: 'file_exists' });
  await assert.rejects(server().db.create('Capital'), { statusCode: 400, error: 'illegal_database_name' });
  assert.ok((await server().db.list()).includes(name));
  assert.equal((await server().db.get(name)).db_name, name);
  assert.deepEqual(await server().db.compact(name), { ok: true });
  assert.deepEqual(await server().db.destroy(name), { ok: true });
  await assert.rejects(server().db.get(name), { statusCode: 404, reason: 'Database does not exist.' });
});

test('the server says what it is, gives ids, and knows who asks', async () => {
  assert.equal((await server().info()).couchdb, 'Welcome');
  const { uuids } = await server().uuids(3);
  assert.equal(new Set(uuids).size, 3);
  assert.ok(uuids.every((uuid) => /^[0-9a-f]{32}$/.test(uuid)));
  const session = await server().session();
  assert.deepEqual(session.userCtx, { name: admin.username, roles: ['_admin'] });
  const { name } = await server().auth(admin.username, admin.password);
  assert.equal(name, admin.username);
  await assert.rejects(nano(url).db.list(), { statusCode: 401 });
});

test('documents are inserted, read, listed, copied with their files, and destroyed', async () => {
  const db = await database();
  const { rev } = await db.insert({ n: 1 }, 'a/b c');
  await assert.rejects(db.insert({ n: 2 }, 'a/b c'), { statusCode: 409, error: 'conflict' });
  assert.deepEqual(await db.get('a/b c'), { _id: 'a/b c', _rev: rev, n: 1 });
  assert.equal((await db.head('a/b c')).etag, `"${rev}"`);
  assert.match((await db.insert({ anonymous: true })).id, /^[0-9a-f]{32}$/);
  assert.equal((await db.get('a/b c', { revs_info: true }))._revs_info[0].status, 'available');
  await db.attachment.insert('a/b c', 'f', 'text', 'text/plain', { rev });
  const copy = await ask('COPY', `/${db.config.db}/a%2Fb%20c`, undefined, { destination: 'copy' });
  assert.equal(copy.status, 201);
  assert.equal(String(await db.attachment.get('copy', 'f')), 'text');
  assert.equal((await db.list({ include_docs: true })).rows.length, 3);
  const current = await db.get('a/b c');
  await db.destroy('a/b c', current._rev);
  await assert.rejects(db.get('a/b c'), { statusCode: 404, reason: 'deleted' });
});

test('many documents go in and come out at once', async () => {
  const db = await database();
  const docs = Array.from({ length: 50 }, (_, n) => ({ _id: `d${n}`, n }));
  assert.equal((await db.bulk({ docs })).filter(({ ok }) => ok).length, 50);
  const { rows } = await db.fetch({ keys: ['d7', 'never', 'd3'] });
  assert.deepEqual(rows.map(({ doc, error }) => doc?.n ?? error), [7, 'not_found', 3]);
  const revs = await db.fetchRevs({ keys: ['d1'] });
  assert.match(revs.rows[0].value.rev, /^1-/);
  const listing = JSON.parse(await gathered(db.listAsStream({ limit: 5, include_docs: true })));
  assert.equal(listing.rows.length, 5);
  assert.equal((await db.list({ startkey: 'd4', endkey: 'd40' })).rows.length, 2);
});

test('attachments are streamed, ranged and removed', async () => {
  const db = await database();
  const bytes = randomBytes(1_000_000);
  let { rev } = await db.attachment.insert('doc', 'big.bin', bytes, 'application/octet-stream');
  assert.ok(bytes.equals(await db.attachment.get('doc', 'big.bin')));
  assert.ok(bytes.equals(await gathered(db.attachment.getAsStream('doc', 'big.bin'))));
  ({ rev } = await db.attachment.insert('doc', 'folder/ü.bin', EVERY_BYTE, 'image/x-none', { rev }));
  assert.ok(EVERY_BYTE.equals(await db.attachment.get('doc', 'folder/ü.bin')));
  const part = await fetch(`${url}/${db.config.db}/doc/folder/%C3%BC.bin`, {
    headers: { range: 'bytes=250-', authorization: server().config.headers.Authorization },
  });
  assert.deepEqual([part.status, part.headers.get('content-range')], [206, 'bytes 250-255/256']);
  assert.deepEqual([...new Uint8Array(await part.arrayBuffer())], [250, 251, 252, 253, 254, 255]);
  await db.attachment.destroy('doc', 'big.bin', { rev });
  await assert.rejects(db.attachment.get('doc', 'big.bin'), { statusCode: 404 });
  assert.deepEqual(Object.keys((await db.get('doc'))._attachments), ['folder/ü.bin']);
});

test('a document and its files go in and come out as one multipart body', async () => {
  const db = await database();
  const files = [
    { name: 'every byte', data: EVERY_BYTE, content_type: 'application/octet-stream' },
    { name: 'some text', data: 'ü\r\n--\r\n', content_type: 'application/x-text' },
    { name: 'empty', data: '', content_type: 'text/plain' },
  ];
  const { rev } = await db.multipart.insert({ n: 1 }, files, 'doc');
  for (const { name, data } of files) {
    assert.ok(Buffer.from(data).equals(Buffer.from(await db.attachment.get('doc', name))), name);
  }
  const body = String(await db.multipart.get('doc')); // as text, which spoils the bytes that are none
  assert.ok(body.includes('filename="every byte"') && body.includes('ü\r\n--\r\n'));
  const { json } = await ask('GET', `/${db.config.db}/doc?attachments=true`, undefined, { accept: 'application/json' });
  assert.equal(json._attachments['every byte'].data, EVERY_BYTE.toString('base64'));
  await assert.rejects(db.multipart.insert({ n: 2 }, files, 'doc'), { statusCode: 409 });
  const stubs = { 'some text': { stub: true } };
  await db.multipart.insert({ _rev: rev, _attachments: stubs }, [files[0]], 'doc');
  assert.deepEqual(Object.keys((await db.get('doc'))._attachments).sort(), ['every byte', 'some text']);
});

test('a reader of changes is given them in batches, to the end, and as they come', async () => {
  const db = await database();
  await db.bulk({ docs: Array.from({ length: 45 }, (_, n) => ({ _id: `d${n}`, n })) });
  const collect = (reader) =>
    new Promise((resolve, reject) => {
      const seen = [];
      reader.on('batch', (batch) => seen.push(batch.length)).on('error', reject);
      reader.on('end', (seq) => resolve({ seen, seq }));
    });
  const { seen: batches, seq } = await collect(db.changesReader.get({ since: '0', batchSize: 20, timeout: 50 }));
  assert.deepEqual(batches, [20, 20, 5]);
  const spooled = await collect(db.changesReader.spool({ since: '0', batchSize: 20 }));
  assert.deepEqual(spooled.seen, [20, 20, 5]);
  assert.deepEqual((await db.changes({ since: spooled.seq })).results, []);
  const some = await collect(db.changesReader.get({ since: '0', selector: { n: { $lt: 3 } }, timeout: 50 }));
  assert.deepEqual(some.seen, [3]);

  const seen = [];
  const reader = db.changesReader.start({ since: seq, includeDocs: true });
  reader.on('change', ({ doc }) => seen.push(doc._id)).on('error', () => {}); // stopping breaks off its request
  for (const id of ['a', 'b']) {
    await db.insert({}, id);
    await until(`${id} is reported`, () => seen.includes(id));
  }
  db.changesReader.stop();
  const page = await db.changes({ since: seq, limit: 1 });
  assert.deepEqual([page.results.length, page.pending], [1, 1]);
  const lines = String(await gathered(db.changesAsStream({ feed: 'continuous', timeout: 10 }))).trim().split('\n');
  assert.equal(lines.length, 48);
});

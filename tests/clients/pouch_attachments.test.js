// Attachments of PouchDB's go through the hub unchanged, whatever their bytes, sizes and names.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { ask, newDatabase } from './hub.js';
import { contents, local, remote } from './pouch.js';

const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
const FILES = {
  'every byte.bin': ['application/octet-stream', EVERY_BYTE],
  'empty': ['text/plain', Buffer.alloc(0)],
  'text.txt': ['text/plain;charset=utf-8', Buffer.from('äöü\u{1F600}\r\n--boundary--\r\n'.repeat(500))],
  'folder/inner/x.json': ['application/json', Buffer.from('{"_id":"not a document"}')],
  'a+b c%20d?e#f&g.bin': ['application/x-odd', Buffer.from('odd')],
  'quo"te\'s;.txt': ['text/plain', Buffer.from('quotes')],
  '\u00FC\u00F1\u00EE\u00E7\u00F8d\u20AC \u4E2D\u6587 \u{1F388}.txt': ['text/plain', Buffer.from('names')],
  'page.html': ['text/html', Buffer.from('<script>alert(1)</script>')],
};

const MAY_BE_PACKED = /^text|json/; // a CouchDB gives the digest of what it compressed

function digest(bytes) {
  return 'md5-' + createHash('md5').update(bytes).digest('base64');
}

function asAttachments(files) {
  return Object.fromEntries(
    Object.entries(files).map(([name, [type, bytes]]) => [name, { content_type: type, data: bytes }]),
  );
}

async function assertFiles(database, id, files) {
  const doc = await database.get(id);
  assert.deepEqual(Object.keys(doc._attachments).sort(), Object.keys(files).sort());
  for (const [name, [type, bytes]] of Object.entries(files)) {
    const stub = doc._attachments[name];
    assert.deepEqual([stub.content_type, stub.length], [type, bytes.length], name);
    if (!MAY_BE_PACKED.test(type)) assert.equal(stub.digest, digest(bytes), name);
    assert.ok(bytes.equals(await database.getAttachment(id, name)), name);
  }
}

test('files go from one device to the other through the hub, byte for byte', async () => {
  const name = await newDatabase();
  const [one, two, hub] = [local(), local(), remote(name)];
  await one.put({ _id: 'doc/with files', _attachments: asAttachments(FILES) });
  await one.replicate.to(hub);
  await assertFiles(hub, 'doc/with files', FILES);
  await two.replicate.from(hub);
  await assertFiles(two, 'doc/with files', FILES);
  assert.deepEqual(await contents(two), await contents(one));
});

test('five million bytes go both ways', async () => {
  const name = await newDatabase();
  const [one, two, hub] = [local(), local(), remote(name)];
  const big = { 'big.bin': ['application/octet-stream', randomBytes(5_000_000)] };
  await one.put({ _id: 'big', _attachments: asAttachments(big) });
  await one.replicate.to(hub);
  await assertFiles(hub, 'big', big);
  await two.replicate.from(hub);
  await assertFiles(two, 'big', big);
});

test('a file that was put, replaced and removed on the hub is so on a device', async () => {
  const name = await newDatabase();
  const [device, hub] = [local(), remote(name)];
  let { rev } = await hub.putAttachment('doc', 'one.txt', Buffer.from('1'), 'text/plain');
  ({ rev } = await hub.putAttachment('doc', 'two.txt', rev, Buffer.from('2'), 'text/plain'));
  ({ rev } = await hub.putAttachment('doc', 'one.txt', rev, Buffer.from('uno'), 'text/x-italian'));
  await device.replicate.from(hub);
  const files = { 'one.txt': ['text/x-italian', Buffer.from('uno')], 'two.txt': ['text/plain', Buffer.from('2')] };
  await assertFiles(device, 'doc', files);
  await hub.removeAttachment('doc', 'one.txt', rev);
  await device.replicate.from(hub);
  await assertFiles(device, 'doc', { 'two.txt': files['two.txt'] });
  await assert.rejects(hub.getAttachment('doc', 'one.txt'), { status: 404 });
  await assert.rejects(hub.putAttachment('doc', 'late.txt', rev, Buffer.from('3'), 'text/plain'), { status: 409 });
});

test('an edit keeps the files that it names as stubs, and drops the others', async () => {
  const name = await newDatabase();
  const [device, hub] = [local(), remote(name)];
  await hub.put({ _id: 'doc', _attachments: asAttachments(FILES) });
  const doc = await hub.get('doc');
  const kept = { 'every byte.bin': doc._attachments['every byte.bin'] };
  await hub.put({ ...doc, edited: true, _attachments: kept });
  await assertFiles(hub, 'doc', { 'every byte.bin': FILES['every byte.bin'] });
  await device.replicate.from(hub);
  await assertFiles(device, 'doc', { 'every byte.bin': FILES['every byte.bin'] });
  const lost = { ...(await hub.get('doc')), _attachments: { 'never there': { stub: true } } };
  await assert.rejects(hub.put(lost), { status: 412, name: 'missing_stub' });
});

test('documents are read with their files inside: alone, in listings, in changes and in bulk', async () => {
  const name = await newDatabase();
  const hub = remote(name);
  const { rev } = await hub.put({ _id: 'doc', _attachments: asAttachments({ 'every byte.bin': FILES['every byte.bin'] }) });
  const data = EVERY_BYTE.toString('base64');
  assert.equal((await hub.get('doc', { attachments: true }))._attachments['every byte.bin'].data, data);
  const asBuffer = await hub.get('doc', { attachments: true, binary: true });
  assert.ok(EVERY_BYTE.equals(asBuffer._attachments['every byte.bin'].data));
  const listed = await hub.allDocs({ include_docs: true, attachments: true });
  assert.equal(listed.rows[0].doc._attachments['every byte.bin'].data, data);
  const changed = await hub.changes({ include_docs: true, attachments: true });
  assert.equal(changed.results[0].doc._attachments['every byte.bin'].data, data);
  const bulk = await hub.bulkGet({ docs: [{ id: 'doc', rev }], attachments: true, revs: true });
  assert.equal(bulk.results[0].docs[0].ok._attachments['every byte.bin'].data, data);
});

test('an attachment that is a page can run nothing in the name of the hub', async () => {
  const name = await newDatabase();
  await remote(name).put({ _id: 'doc', _attachments: asAttachments({ 'page.html': FILES['page.html'] }) });
  const response = await ask('HEAD', `/${name}/doc/page.html`);
  assert.equal(response.headers.get('content-security-policy'), 'sandbox');
});

test('conflicting revisions keep their own files', async () => {
  const name = await newDatabase();
  const [one, two, hub] = [local(), local(), remote(name)];
  await one.put({ _id: 'doc' });
  await one.sync(hub);
  await two.sync(hub);
  for (const [device, text] of [[one, 'of one'], [two, 'of two']]) {
    const { _rev } = await device.get('doc');
    await device.putAttachment('doc', 'same name.txt', _rev, Buffer.from(text), 'text/plain');
  }
  await one.replicate.to(hub);
  await two.replicate.to(hub);
  const leaves = await hub.get('doc', { open_revs: 'all' });
  const texts = await Promise.all(leaves.map(({ ok }) => hub.getAttachment('doc', 'same name.txt', { rev: ok._rev })));
  assert.deepEqual(texts.map(String).sort(), ['of one', 'of two']);
});

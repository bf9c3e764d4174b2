// PouchDB replicates with the hub: both ways and live, through conflicts, deletions, filters and cut connections.

import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { admin, ask, newDatabase, until, url } from './hub.js';
import { PouchDB, contents, local, remote, stopped } from './pouch.js';

const ODD_IDS = [
  'a/b', 'a b', 'a+b', 'a%2Fb', 'a?b#c&d=e', '"quoted"', "it's", 'ä', 'a\u0308', '\u{1F600}', '\u20AC/\u4E2D', '...', '~',
  'constructor', 'toString', 'a\tb', 'a\nb', 'a:b@c', '[1,2]', '{"a":1}', 'x'.repeat(2_000), '0', '-', '\\', '|',
];

function numbered(count, rest = {}) {
  return Array.from({ length: count }, (_, n) => ({ _id: `d${String(n).padStart(4, '0')}`, n, ...rest }));
}

test('two devices that write at once agree through the hub, live', async () => {
  const name = await newDatabase();
  const [one, two] = [local(), local()];
  const syncs = [one, two].map((device) => device.sync(remote(name), { live: true, retry: true }));
  await Promise.all([0, 1, 2, 3, 4].flatMap((n) => [one.put({ _id: `one${n}`, n }), two.put({ _id: `two${n}`, n })]));
  const all = async (device) => (await device.allDocs()).rows.length === 10;
  await until('all documents are everywhere', async () => (await all(one)) && (await all(two)) && all(remote(name)));
  const seen = await two.get('one0');
  await two.put({ ...seen, said: 'by two' });
  await until('an update comes back', async () => (await one.get('one0')).said === 'by two');
  await one.remove(await one.get('two3'));
  await until('a deletion arrives', async () => (await two.allDocs({ keys: ['two3'] })).rows[0].value?.deleted);
  await Promise.all(syncs.map(stopped));
  assert.deepEqual(await contents(one), await contents(two));
  assert.deepEqual(await contents(one), await contents(remote(name)));
});

test('edits on both sides are a conflict that all see alike, and that all see resolved', async () => {
  const name = await newDatabase();
  const [one, two, hub] = [local(), local(), remote(name)];
  await one.put({ _id: 'patient', v: 0 });
  await one.sync(hub);
  await two.sync(hub);
  for (const [device, rounds] of [[one, 2], [two, 3]]) {
    for (let round = 0; round < rounds; round += 1) {
      const doc = await device.get('patient');
      await device.put({ ...doc, by: device === one ? 'one' : 'two', round });
    }
  }
  await one.sync(hub);
  await two.sync(hub);
  await one.sync(hub);
  const views = await Promise.all([one, two, hub].map((place) => place.get('patient', { conflicts: true })));
  assert.equal(views[0].by, 'two');
  assert.equal(views[0]._conflicts.length, 1);
  assert.deepEqual(views[1], views[0]);
  assert.deepEqual(views[2], views[0]);
  const leaves = await Promise.all([one, hub].map((place) => place.get('patient', { open_revs: 'all', revs: true })));
  const sorted = leaves.map((found) => found.map(({ ok }) => ok).sort((a, b) => (a._rev < b._rev ? -1 : 1)));
  assert.equal(sorted[0].length, 2);
  assert.deepEqual(sorted[1], sorted[0]);

  await one.remove('patient', views[0]._conflicts[0]);
  await one.sync(hub);
  await two.sync(hub);
  for (const place of [one, two, hub]) {
    assert.equal((await place.get('patient', { conflicts: true }))._conflicts, undefined);
  }
  const { json } = await ask('GET', `/${name}/patient?deleted_conflicts=true`);
  assert.match(json._deleted_conflicts.join(), /^4-/);
});

test('a deletion travels, and so does what is written after it', async () => {
  const name = await newDatabase();
  const [one, two, hub] = [local(), local(), remote(name)];
  const { rev } = await one.put({ _id: 'd', v: 1 });
  await one.put({ _id: 'd', _rev: rev, _deleted: true, reason: 'a tombstone keeps its body' });
  await one.replicate.to(hub);
  await two.replicate.from(hub);
  await assert.rejects(two.get('d'), { status: 404, reason: 'deleted' });
  await assert.rejects(hub.get('d'), { status: 404, reason: 'deleted' });
  const [tombstone] = await hub.get('d', { open_revs: 'all' });
  assert.equal(tombstone.ok.reason, 'a tombstone keeps its body');
  await hub.put({ _id: 'd', v: 2 });
  await one.replicate.from(hub);
  assert.equal((await one.get('d')).v, 2);
  assert.match((await one.get('d'))._rev, /^3-/);
});

test('ids of every kind come through both ways', async () => {
  const name = await newDatabase();
  const [one, two, hub] = [local(), local(), remote(name)];
  await one.bulkDocs(ODD_IDS.map((_id) => ({ _id, _attachments: { f: { content_type: 'text/plain', data: 'YQ==' } } })));
  await one.replicate.to(hub);
  for (const id of ODD_IDS) assert.equal((await hub.get(id))._id, id);
  await two.replicate.from(hub);
  assert.deepEqual(await contents(two), await contents(one));
  for (const id of ODD_IDS) await hub.put({ ...(await hub.get(id)), again: true });
  await two.replicate.from(hub);
  for (const id of ODD_IDS) assert.equal((await two.get(id)).again, true);
});

test('a filter lets through what it names: by selector, by ids, by a function of the client', async () => {
  const name = await newDatabase();
  const source = local();
  await source.bulkDocs(numbered(20).map((doc) => ({ ...doc, even: doc.n % 2 === 0, tags: { n: doc.n } })));
  await source.put({ _id: 'gone', even: true });
  await source.replicate.to(remote(name), { filter: (doc) => doc._id !== 'd0000' });
  const hub = remote(name);
  await assert.rejects(hub.get('d0000'), { status: 404 });

  const bySelector = local();
  await bySelector.replicate.from(hub, { selector: { even: true, 'tags.n': { $lt: 11 } } });
  assert.deepEqual((await bySelector.allDocs()).rows.map(({ id }) => id), ['d0002', 'd0004', 'd0006', 'd0008', 'd0010']);
  const byIds = local();
  await byIds.replicate.from(hub, { doc_ids: ['d0003', 'd0004', 'nobody'] });
  assert.deepEqual((await byIds.allDocs()).rows.map(({ id }) => id), ['d0003', 'd0004']);
});

test('what was replicated is not transferred again', async () => {
  const name = await newDatabase();
  const [source, target, hub] = [local(), local(), remote(name)];
  await source.bulkDocs(numbered(60));
  assert.equal((await source.replicate.to(hub)).docs_written, 60);
  const pushed = await source.replicate.to(hub);
  assert.deepEqual([pushed.docs_read, pushed.docs_written], [0, 0]);

  const first = target.replicate.from(hub, { batch_size: 10 });
  let stoppedAfter = 0;
  first.on('change', ({ docs_written: written }) => {
    stoppedAfter = written;
    if (written >= 20) first.cancel();
  });
  await first;
  const second = await target.replicate.from(hub, { batch_size: 10 });
  assert.ok(second.docs_read < 60 - stoppedAfter + 10, `${second.docs_read} documents were read again`);
  assert.deepEqual(await contents(target), await contents(source));
  assert.equal((await target.replicate.from(hub)).docs_read, 0);

  const { json } = await ask('GET', `/${name}/_local_docs?include_docs=true`);
  assert.ok(json.rows.length >= 2);
  for (const { doc } of json.rows) assert.ok(doc.session_id && doc.history.length > 0);
  await hub.put({ _id: 'one more' });
  assert.equal((await target.replicate.from(hub)).docs_written, 1);
});

test('a live sync goes on after its connections were cut and refused', async () => {
  const name = await newDatabase();
  const target = new URL(url);
  const open = new Set();
  const gate = net.createServer((client) => {
    const server = net.connect(Number(target.port), target.hostname);
    for (const [socket, other] of [[client, server], [server, client]]) {
      open.add(socket);
      socket.on('error', () => other.destroy()).on('close', () => {
        open.delete(socket);
        other.destroy();
      });
    }
    client.pipe(server).pipe(client);
  });
  const listen = (port) => new Promise((resolve) => gate.listen(port, '127.0.0.1', resolve));
  await listen(0);
  const { port } = gate.address();
  const device = local();
  const through = new PouchDB(`http://127.0.0.1:${port}/${name}`, { auth: admin, skip_setup: true });
  const sync = device.sync(through, { live: true, retry: true, back_off_function: () => 50 });
  await new Promise((resolve) => sync.once('paused', resolve)); // both directions wait for something to happen

  await new Promise((resolve) => {
    gate.close(resolve);
    open.forEach((socket) => socket.destroy());
  });
  await device.put({ _id: 'made without a network' });
  await remote(name).put({ _id: 'missed meanwhile' });
  await listen(port);
  await until('what was made is pushed', () => remote(name).get('made without a network').catch(() => null));
  await until('what was missed is pulled', () => device.get('missed meanwhile').catch(() => null));
  await stopped(sync);
  open.forEach((socket) => socket.destroy());
  gate.close();
  assert.deepEqual(await contents(device), await contents(remote(name)));
});

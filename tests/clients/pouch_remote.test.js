// The hub as a database of PouchDB's: what its http adapter asks for, it gets as from CouchDB.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { admin, ask, basic, newDatabase, newUser, until, url } from './hub.js';
import { PouchDB, local, remote } from './pouch.js';

async function filled(count) {
  const name = await newDatabase();
  const docs = Array.from({ length: count }, (_, n) => ({ _id: `d${n}`, n }));
  const results = await remote(name).bulkDocs(docs);
  return { name, hub: remote(name), revs: results.map(({ rev }) => rev) };
}

test('a database is made when it is opened, described, and destroyed', async () => {
  const hub = new PouchDB(`${url}/${'made-' + Date.now()}`, { auth: admin });
  await hub.put({ _id: 'a' });
  const info = await hub.info();
  assert.deepEqual([info.doc_count, info.doc_del_count, info.adapter], [1, 0, 'http']);
  assert.match(info.update_seq, /^1-/);
  await hub.destroy();
  assert.equal((await remote(info.db_name).info()).reason, 'Database does not exist.');
});

test('documents are written, read, updated and removed, and a wrong revision is a conflict', async () => {
  const hub = remote(await newDatabase());
  const { rev: first } = await hub.put({ _id: 'a', v: 1 });
  await assert.rejects(hub.put({ _id: 'a', v: 2 }), { status: 409, name: 'conflict' });
  const { rev: second } = await hub.put({ _id: 'a', _rev: first, v: 2 });
  await assert.rejects(hub.put({ _id: 'a', _rev: first, v: 3 }), { status: 409 });
  assert.deepEqual(await hub.get('a'), { _id: 'a', _rev: second, v: 2 });
  assert.deepEqual(await hub.get('a', { rev: first }), { _id: 'a', _rev: first, v: 1 });
  const doc = await hub.get('a', { revs: true, revs_info: true });
  assert.deepEqual(doc._revisions, { start: 2, ids: [second, first].map((rev) => rev.split('-')[1]) });
  assert.deepEqual(doc._revs_info.map(({ status }) => status), ['available', 'available']);
  assert.equal((await hub.get('a', { rev: first, latest: true }))._rev, second);
  await hub.remove('a', second);
  await assert.rejects(hub.get('a'), { status: 404, reason: 'deleted' });
  await assert.rejects(hub.get('never'), { status: 404, reason: 'missing' });
  const { id } = await hub.post({ made: 'up' });
  assert.equal((await hub.get(id)).made, 'up');
});

test('open_revs names what is missing', async () => {
  const hub = remote(await newDatabase());
  const { rev } = await hub.put({ _id: 'a' });
  const missing = '9-' + 'a'.repeat(32);
  const found = await hub.get('a', { open_revs: [rev, missing] });
  assert.deepEqual(found[0], { ok: { _id: 'a', _rev: rev } });
  assert.equal(found[1].missing, missing);
  await assert.rejects(hub.get('never', { open_revs: 'all' }), { status: 404 });
});

test('a batch says of each document what became of it', async () => {
  const { hub, revs } = await filled(2);
  const results = await hub.bulkDocs([
    { _id: 'd0', n: 'without its revision' },
    { _id: 'd1', _rev: revs[1], _deleted: true },
    { _id: 'new' },
    { anonymous: true },
  ]);
  assert.deepEqual([results[0].status, results[0].name, results[0].error], [409, 'conflict', 'conflict']);
  assert.deepEqual(results.slice(1).map(({ ok }) => ok), [true, true, true]);
  await assert.rejects(hub.bulkDocs([{ _id: '_reserved' }]), { status: 400 });
  const written = await hub.bulkDocs([{ _id: 'd0', _rev: '7-abc', n: 'made elsewhere' }], { new_edits: false });
  assert.deepEqual(written, []);
  assert.equal((await hub.get('d0', { conflicts: true }))._rev, '7-abc');
  assert.deepEqual((await hub.get('d0', { conflicts: true }))._conflicts, [revs[0]]);
});

test('bulkGet answers in the order asked, with histories, and with an error for what is not there', async () => {
  const { hub, revs } = await filled(3);
  const wanted = [{ id: 'd2' }, { id: 'd0', rev: revs[0] }, { id: 'd0', rev: '9-nowhere' }, { id: 'never' }];
  const { results } = await hub.bulkGet({ docs: wanted, revs: true });
  assert.deepEqual(results.map(({ id }) => id), ['d2', 'd0', 'd0', 'never']);
  assert.equal(results[0].docs[0].ok._revisions.start, 1);
  assert.equal(results[1].docs[0].ok._rev, revs[0]);
  assert.equal(results[2].docs[0].error.error, 'not_found');
  assert.equal(results[3].docs[0].error.reason, 'missing');
});

test('allDocs knows all its options', async () => {
  const { hub, revs } = await filled(5);
  await hub.remove('d4', revs[4]);
  const ids = async (options) => (await hub.allDocs(options)).rows.map((row) => row.id ?? row.error);
  assert.deepEqual(await ids({}), ['d0', 'd1', 'd2', 'd3']);
  assert.deepEqual(await ids({ startkey: 'd1', endkey: 'd2' }), ['d1', 'd2']);
  assert.deepEqual(await ids({ startkey: 'd1', endkey: 'd3', inclusive_end: false }), ['d1', 'd2']);
  assert.deepEqual(await ids({ descending: true, startkey: 'd2' }), ['d2', 'd1', 'd0']);
  assert.deepEqual(await ids({ skip: 1, limit: 2 }), ['d1', 'd2']);
  assert.deepEqual(await ids({ limit: 0 }), []);
  assert.deepEqual(await ids({ key: 'd3' }), ['d3']);
  assert.deepEqual(await ids({ keys: ['d3', 'never', 'd4', 'd3'] }), ['d3', 'not_found', 'd4', 'd3']);
  assert.deepEqual(await ids({ keys: ['d3', 'd0', 'd1'], limit: 2 }), ['d3', 'd0']);
  await assert.rejects(hub.allDocs({ key: 'd3', keys: ['d3', 'd0'] }), { status: 400, name: 'query_parse_error' });
  const all = await hub.allDocs({ include_docs: true, keys: ['d4', 'd0'] });
  assert.deepEqual([all.total_rows, all.rows[0].value.deleted, all.rows[0].doc], [4, true, null]);
  assert.equal(all.rows[1].doc.n, 0);
  assert.match((await hub.allDocs({ update_seq: true })).update_seq, /^6-/);
  assert.equal((await hub.allDocs({ startkey: 'd2' })).offset, 2);
});

test('a changes feed has pages, an order, a seq only as often as wanted, and documents', async () => {
  const { name, hub } = await filled(25);
  const ids = (rows) => rows.map(({ id }) => id).sort();
  const all = await hub.changes({ batch_size: 10 });
  assert.equal(all.results.length, 25);
  const page = await hub.changes({ limit: 10 });
  assert.deepEqual([page.results.length, page.last_seq], [10, page.results[9].seq]);
  const rest = await hub.changes({ since: page.last_seq, include_docs: true });
  assert.deepEqual(ids([...page.results, ...rest.results]), ids(all.results));
  assert.ok(rest.results.every(({ id, doc }) => id === `d${doc.n}`));
  const back = await hub.changes({ descending: true, limit: 1 });
  assert.equal(back.results.length, 1);
  const { json } = await ask('GET', `/${name}/_changes?seq_interval=10&limit=21`);
  const [first, second, third = first + 20] = json.results.flatMap(({ seq }, at) => (seq === null ? [] : at));
  assert.deepEqual([second - first, third - first], [10, 20]);
  assert.equal(json.pending, 4);
  assert.equal((await hub.changes({ since: 'now' })).results.length, 0);
  const some = await hub.changes({ doc_ids: ['d3', 'd20'] });
  assert.deepEqual(ids(some.results), ['d20', 'd3']);
  const chosen = await hub.changes({ selector: { n: { $gt: 21 } } });
  assert.deepEqual(ids(chosen.results), ['d22', 'd23', 'd24']);
});

test('a live feed tells of each change, though silent for many heartbeats in between', async () => {
  const { hub } = await filled(1);
  const seen = [];
  const feed = hub.changes({ live: true, since: 'now', include_docs: true, heartbeat: 50, timeout: 500 });
  const ended = new Promise((resolve, reject) => feed.on('complete', resolve).on('error', reject));
  feed.on('change', ({ doc }) => seen.push(doc._id));
  for (const id of ['a', 'b', 'c']) {
    await hub.put({ _id: id });
    await until(`the feed tells of ${id}`, () => seen.includes(id));
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  feed.cancel();
  await ended;
  assert.deepEqual(seen, ['a', 'b', 'c']);
});

test('local documents stay where they are', async () => {
  const { hub } = await filled(1);
  await hub.put({ _id: '_local/mine', v: 1 });
  const doc = await hub.get('_local/mine');
  assert.deepEqual(doc, { _id: '_local/mine', _rev: '0-1', v: 1 });
  await hub.put({ ...doc, v: 2 });
  assert.equal((await hub.get('_local/mine'))._rev, '0-2');
  assert.equal((await hub.info()).doc_count, 1);
  assert.ok((await hub.changes()).results.every(({ id }) => !id.startsWith('_local')));
  const device = local();
  await device.replicate.from(hub);
  await assert.rejects(device.get('_local/mine'), { status: 404 });
  await hub.remove(await hub.get('_local/mine'));
  await assert.rejects(hub.get('_local/mine'), { status: 404 });
});

test('compaction drops the bodies of old revisions and nothing else', async () => {
  const { hub, revs } = await filled(2);
  const { rev } = await hub.put({ _id: 'd0', _rev: revs[0], v: 2 });
  await hub.putAttachment('d1', 'f', revs[1], Buffer.from('kept'), 'text/plain');
  await hub.compact({ interval: 20 });
  assert.equal((await hub.get('d0'))._rev, rev);
  const compacted = async () => (await hub.get('d0', { revs_info: true }))._revs_info[1].status === 'missing';
  await until('the body of the first revision is gone', compacted);
  await assert.rejects(hub.get('d0', { rev: revs[0] }), { status: 404 });
  assert.equal(String(await hub.getAttachment('d1', 'f')), 'kept');
});

test('revsDiff says what is missing and what it may come from', async () => {
  const { hub, revs } = await filled(1);
  const later = '2-' + 'b'.repeat(32);
  assert.deepEqual(await hub.revsDiff({ d0: [revs[0], later], never: ['1-a'] }), {
    d0: { missing: [later], possible_ancestors: [revs[0]] },
    never: { missing: ['1-a'] },
  });
});

test('a login by cookie is enough, and ends', async () => {
  const { name } = await filled(1);
  const login = await ask('POST', '/_session', { name: admin.username, password: admin.password }, { authorization: '' });
  assert.equal(login.status, 200);
  const cookie = login.headers.get('set-cookie').split(';')[0];
  const withCookie = (address, options) => {
    options.headers.set('Cookie', cookie);
    return PouchDB.fetch(address, options);
  };
  const hub = new PouchDB(`${url}/${name}`, { skip_setup: true, fetch: withCookie });
  assert.equal((await hub.get('d0')).n, 0);
  const session = await ask('GET', '/_session', undefined, { authorization: '', cookie });
  assert.deepEqual([session.json.userCtx.name, session.json.info.authenticated], [admin.username, 'cookie']);
  const stranger = new PouchDB(`${url}/${name}`, { skip_setup: true });
  await assert.rejects(stranger.get('d0'), { status: 401 });
  const logout = await ask('DELETE', '/_session', undefined, { authorization: '', cookie });
  assert.match(logout.headers.get('set-cookie'), /^AuthSession=;/);
});

test('members sync, and others do not', async () => {
  const name = await newDatabase();
  const [member, other] = [await newUser(), await newUser()];
  await ask('PUT', `/${name}/_security`, { members: { names: [member.username] } });
  const as = (user) => remote(name, { auth: user });
  const device = local();
  await device.put({ _id: 'a' });
  assert.equal((await device.replicate.to(as(member))).docs_written, 1);
  await assert.rejects(device.replicate.to(as(other)), { status: 403 });
  await assert.rejects(as(member).put({ _id: '_design/d', views: {} }), { status: 403 });
  const wrong = await ask('GET', `/${name}`, undefined, { authorization: basic(member.username, 'wrong') });
  assert.deepEqual([wrong.status, wrong.json.error], [401, 'unauthorized']);
});

// Mango from PouchDB: the same queries give the same documents on the hub as in a database of the client's own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newDatabase } from './hub.js';
import { local, remote } from './pouch.js';

const NAMES = ['Keats', 'Lambe', 'Bree', 'Clark', 'Hunt', 'Brawne', 'Severn', 'Brown'];

async function both() {
  const places = [local(), remote(await newDatabase())];
  const docs = NAMES.map((name, n) => ({
    _id: `d${n}`, name, age: 20 + n * 3, tags: n % 2 ? ['odd', name[0]] : ['even'], address: { city: n < 4 ? 'London' : 'Rome' },
  }));
  for (const place of places) {
    await place.bulkDocs(docs);
    await place.createIndex({ index: { fields: ['age'], name: 'by-age', ddoc: 'ages' } });
    await place.createIndex({ index: { fields: ['address.city', 'name'] } });
  }
  return places;
}

const QUERIES = {
  equality: { selector: { name: 'Keats' } },
  range: { selector: { age: { $gte: 26, $lt: 35 } }, sort: ['age'] },
  'descending order': { selector: { age: { $gt: null } }, sort: [{ age: 'desc' }], limit: 3 },
  'skip and limit': { selector: { age: { $gt: 0 } }, sort: ['age'], skip: 2, limit: 2 },
  'a compound index': { selector: { 'address.city': 'Rome', name: { $gt: 'C' } }, sort: ['address.city', 'name'] },
  or: { selector: { $or: [{ name: 'Hunt' }, { age: 20 }] } },
  not: { selector: { $not: { 'address.city': 'London' } } },
  nor: { selector: { $nor: [{ age: { $gt: 30 } }, { name: 'Bree' }] } },
  in: { selector: { name: { $in: ['Brown', 'Bree', 'Nobody'] } } },
  nin: { selector: { name: { $nin: NAMES.slice(2) } } },
  exists: { selector: { 'address.street': { $exists: false }, age: { $exists: true } } },
  type: { selector: { tags: { $type: 'array' }, age: { $type: 'number' } } },
  size: { selector: { tags: { $size: 2 } } },
  all: { selector: { tags: { $all: ['odd', 'L'] } } },
  elemMatch: { selector: { tags: { $elemMatch: { $eq: 'even' } } } },
  mod: { selector: { age: { $mod: [6, 2] } } },
  regex: { selector: { name: { $regex: '^B' } } },
  ids: { selector: { _id: { $gt: 'd3', $lte: 'd6' } }, sort: ['_id'] },
  fields: { selector: { name: 'Keats' }, fields: ['_id', 'address.city'] },
  nothing: { selector: { name: { $lt: 'A' } } },
};

test('every query finds the same documents on the hub as in PouchDB', async () => {
  const [mine, hub] = await both();
  for (const [what, query] of Object.entries(QUERIES)) {
    const [expected, found] = await Promise.all([mine, hub].map(async (place) => (await place.find(structuredClone(query))).docs));
    const inOrder = (docs) => (query.sort ? docs : docs.sort((a, b) => (a._id < b._id ? -1 : 1)));
    const plain = (docs) => inOrder(docs).map(({ _rev, ...rest }) => rest);
    assert.deepEqual(plain(found), plain(expected), what);
  }
});

test('pages are followed by bookmark', async () => {
  const [, hub] = await both();
  const seen = [];
  let bookmark;
  for (;;) {
    const page = await hub.find({ selector: { age: { $gt: 0 } }, limit: 3, bookmark });
    if (!page.docs.length) break;
    seen.push(...page.docs.map(({ _id }) => _id));
    bookmark = page.bookmark;
  }
  assert.deepEqual(seen, NAMES.map((_, n) => `d${n}`));
});

test('indexes are listed, used, and deleted', async () => {
  const [, hub] = await both();
  const { indexes } = await hub.getIndexes();
  assert.deepEqual(indexes.map(({ type }) => type), ['special', 'json', 'json']);
  const plan = await hub.explain({ selector: { age: { $gt: 30 } } });
  assert.equal(plan.index.name, 'by-age');
  const again = await hub.createIndex({ index: { fields: ['age'], name: 'by-age', ddoc: 'ages' } });
  assert.equal(again.result, 'exists');
  await hub.deleteIndex({ ddoc: '_design/ages', name: 'by-age' });
  assert.equal((await hub.getIndexes()).indexes.length, 2);
  await assert.rejects(hub.find({ selector: { age: { $gt: 0 } }, sort: ['age'] }), { error: 'no_usable_index' });
});

test('what cannot be asked is refused by name', async () => {
  const [, hub] = await both();
  await assert.rejects(hub.find({ selector: { a: { $frob: 1 } } }), { status: 400, error: 'invalid_operator' });
  await assert.rejects(hub.find({ selector: { a: 1 }, limit: -1 }), { status: 400, error: 'invalid_non_neg_integer' });
});
